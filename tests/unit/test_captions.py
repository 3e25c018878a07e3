"""A folder of images and a CSV of captions become COCO's caption file."""

import pytest
from PIL import ExifTags, Image, PngImagePlugin

from headimpact.dataset.captions import write
from headimpact.dataset.coco import CocoFolder


@pytest.fixture
def images(tmp_path):
    folder = tmp_path / "meine Bilder"
    (folder / "Süd").mkdir(parents=True)
    Image.new("RGB", (40, 30)).save(folder / "a.jpg")
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6
    Image.new("RGB", (50, 20)).save(folder / "Süd/b.jpg", exif=exif)
    Image.new("L", (7, 9)).save(folder / "c.png")
    Image.new("L", (7, 9)).save(folder / "d.gif")
    (tmp_path / "out.jpg").write_bytes((folder / "a.jpg").read_bytes())
    return folder


def converted(tmp_path, images, text, encoding="utf-8"):
    table = tmp_path / "captions.csv"
    table.write_bytes(text.encode(encoding))
    write(tmp_path / "out/annotations/captions_images.json", table, images)
    return CocoFolder(tmp_path / "out", "images", images=images, upright=True)


GOOD = """file,caption,note
a.jpg,"A dog,\r\nasleep",x
Süd/b.jpg,Ein Schiff,
c.png, grey ,
a.jpg,A bed,
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_captions_and_upright_sizes_are_coco_s(tmp_path, images, encoding):
    folder = converted(tmp_path, images, GOOD, encoding)
    table = folder.captions()
    assert table[["file_name", "caption"]].to_numpy().tolist() == [
        ["a.jpg", "A dog,\r\nasleep"],
        ["Süd/b.jpg", "Ein Schiff"],
        ["c.png", "grey"],
        ["a.jpg", "A bed"],
    ]
    assert table["image_id"].tolist() == [0, 1, 2, 0] and table["caption_id"].is_unique
    for row in table.itertuples():
        assert folder.image(row.file_name).size == (row.width, row.height)
    assert table["width"].tolist() == [40, 20, 7, 40]
    folder.check(["captions"])
    folder.check_images()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("name,caption\na.jpg,x\n", "line 1: its columns are ['name', 'caption']; write the"),
        ("file;caption\na.jpg;x\n", "line 1: its columns are ['file;caption']; write the header"),
        ("", "line 1: its columns are []; write the header file,caption, with commas"),
        ("file,caption\na.jpg,a dog, a cat\n", "line 2: more cells than columns; quote a"),
        ("file,caption\n", "no captions; write a row"),
        ("file,caption\na.jpg,x\nb.jpg\n", "line 3: no file or no caption"),
        ("file,caption\na.jpg, \n", "line 2: no file or no caption"),
        ("file,caption\n,x\n", "line 2: no file or no caption"),
        ("file,caption\na.jpg,x\nnowhere.jpg,y\n", "line 3: no file "),
        ("file,caption\nnowhere.jpg,x\nnowhere.jpg,y\n", "line 2: no file "),
        ("file,caption\nSüd,x\n", "line 2: no file "),
        ("file,caption\n../out.jpg,x\n", "line 2: '../out.jpg': not the name of a file"),
        *(
            (f"file,caption\na.jpg,x\n{name},x\n", f"line 3: {name!r}: not the name of a file")
            for name in ("/etc/hostname", "a/../../x.jpg", "Süd\\b.jpg", "C:b.jpg", "a\0.jpg")
        ),
        ("file,caption\nd.gif,x\n", "line 2: d.gif: not an image as JPEG, PNG or WebP"),
        ('file,caption\na.jpg,"x\n', "not readable as CSV"),
    ],
)
def test_a_fault_is_told_in_a_line(tmp_path, images, text, told):
    with pytest.raises(ValueError, match=r"captions\.csv: ") as error:
        converted(tmp_path, images, text)
    assert told in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("orientation", "suffix"), [*((note, "jpg") for note in range(10)), (6, "png"), (6, "webp")]
)
def test_a_size_is_that_of_the_image_as_it_is_read(tmp_path, images, orientation, suffix):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.new("RGB", (50, 20)).save(images / f"e.{suffix}", exif=exif)
    folder = converted(tmp_path, images, f"file,caption\ne.{suffix},x\n")
    (row,) = folder.captions().itertuples()
    assert (row.width, row.height) == folder.image(row.file_name).size
    assert (row.width == 20) == (orientation in (5, 6, 7, 8))


def test_what_was_written_is_replaced(tmp_path, images):
    converted(tmp_path, images, GOOD)
    assert len(converted(tmp_path, images, "file,caption\na.jpg,x\n").captions()) == 1


def test_a_damaged_image_is_told(tmp_path, images, monkeypatch):
    whole = bytearray((images / "c.png").read_bytes())
    whole[36] = 6  # of its 12 bytes, behind which no part begins
    (images / "c.png").write_bytes(whole)
    with pytest.raises(ValueError, match=r"captions\.csv: line 5: c\.png: not an image as JPEG"):
        converted(tmp_path, images, GOOD)
    text = PngImagePlugin.PngInfo()
    text.add_text("note", "x" * (2 << 20), zip=True)  # which the library will not unpack
    Image.new("L", (7, 9)).save(images / "c.png", pnginfo=text)
    with pytest.raises(ValueError, match=r"captions\.csv: line 5: c\.png: not an image as JPEG"):
        converted(tmp_path, images, GOOD)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # beyond twice as many it refuses
    with pytest.raises(ValueError, match=r"captions\.csv: line 3: a\.jpg: not an image as JPEG"):
        converted(tmp_path, images, GOOD)


def test_a_table_that_is_not_there_is_told(tmp_path, images):
    with pytest.raises(ValueError, match=r"none\.csv: not readable as CSV .*No such file"):
        write(tmp_path / "out/x.json", tmp_path / "none.csv", images)


def test_one_image_has_one_name(tmp_path, images):
    table = converted(tmp_path, images, "file,caption\na.jpg,x\n./a.jpg,y\n").captions()
    assert table["image_id"].tolist() == [0, 0] and set(table["file_name"]) == {"a.jpg"}


def test_a_name_that_is_too_long_is_told_with_its_line(tmp_path, images):
    with pytest.raises(ValueError, match=r"captions\.csv: line 2: "):
        converted(tmp_path, images, f"file,caption\n{'a' * 300}.jpg,x\n")


def test_an_image_that_is_none_is_told(tmp_path, images):
    (images / "d.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"line 2: d\.jpg: not an image as JPEG, PNG or WebP"):
        converted(tmp_path, images, "file,caption\nd.jpg,x\n")


def test_another_encoding_is_told(tmp_path, images):
    with pytest.raises(ValueError, match="not readable as CSV in UTF-8"):
        converted(tmp_path, images, GOOD, "latin-1")

"""A CSV of captions is converted into a caption file in COCO's format."""

import pytest
from PIL import ExifTags, Image, PngImagePlugin

from headimpact.dataset.captions import write
from headimpact.dataset.coco import CocoFolder
from headimpact.guards import UserError


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


def convert(tmp_path, images, text, encoding="utf-8"):
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
def test_captions_and_upright_sizes_are_convert(tmp_path, images, encoding):
    folder = convert(tmp_path, images, GOOD, encoding)
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
    ("text", "message"),
    [
        ("name,caption\na.jpg,x\n", "line 1: its columns are ['name', 'caption']"),
        ("file;caption\na.jpg;x\n", "line 1: its columns are ['file;caption']"),
        ("", "line 1: its columns are []"),
        ("file,caption\na.jpg,a dog, a cat\n", "line 2: more cells than columns"),
        ("file,caption\n", "no captions"),
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
        ("file,caption\nd.gif,x\n", "line 2: d.gif: "),
        ('file,caption\na.jpg,"x\n', "not readable as CSV"),
    ],
)
def test_an_error_names_the_line_of_the_csv(tmp_path, images, text, message):
    with pytest.raises(UserError, match=r"captions\.csv: ") as error:
        convert(tmp_path, images, text)
    assert message in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("orientation", "suffix"), [*((note, "jpg") for note in range(10)), (6, "png"), (6, "webp")]
)
def test_width_and_height_are_those_of_the_decoded_image(tmp_path, images, orientation, suffix):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    Image.new("RGB", (50, 20)).save(images / f"e.{suffix}", exif=exif)
    folder = convert(tmp_path, images, f"file,caption\ne.{suffix},x\n")
    (row,) = folder.captions().itertuples()
    assert (row.width, row.height) == folder.image(row.file_name).size
    assert (row.width == 20) == (orientation in (5, 6, 7, 8))


def test_an_existing_caption_file_is_replaced(tmp_path, images):
    convert(tmp_path, images, GOOD)
    assert len(convert(tmp_path, images, "file,caption\na.jpg,x\n").captions()) == 1


def test_a_damaged_image_is_reported_with_its_line(tmp_path, images, monkeypatch):
    content = bytearray((images / "c.png").read_bytes())
    content[36] = 6  # The chunk has 12 bytes, and no chunk begins after 6 of them.
    (images / "c.png").write_bytes(content)
    with pytest.raises(UserError, match=r"captions\.csv: line 5: c\.png: "):
        convert(tmp_path, images, GOOD)
    text = PngImagePlugin.PngInfo()
    text.add_text("note", "x" * (2 << 20), zip=True)  # more than Pillow decompresses
    Image.new("L", (7, 9)).save(images / "c.png", pnginfo=text)
    with pytest.raises(UserError, match=r"captions\.csv: line 5: c\.png: "):
        convert(tmp_path, images, GOOD)
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow refuses more than twice as many
    with pytest.raises(UserError, match=r"captions\.csv: line 3: a\.jpg: "):
        convert(tmp_path, images, GOOD)


def test_a_missing_csv_is_reported(tmp_path, images):
    with pytest.raises(UserError, match=r"none\.csv: .*No such file"):
        write(tmp_path / "out/x.json", tmp_path / "none.csv", images)


def test_two_spellings_of_a_path_are_the_same_image(tmp_path, images):
    table = convert(tmp_path, images, "file,caption\na.jpg,x\n./a.jpg,y\n").captions()
    assert table["image_id"].tolist() == [0, 0] and set(table["file_name"]) == {"a.jpg"}


def test_a_name_that_is_too_long_is_reported_with_its_line(tmp_path, images):
    with pytest.raises(UserError, match=r"captions\.csv: line 2: "):
        convert(tmp_path, images, f"file,caption\n{'a' * 300}.jpg,x\n")


def test_an_empty_image_file_is_reported_with_its_line(tmp_path, images):
    (images / "d.jpg").write_bytes(b"")
    with pytest.raises(UserError, match=r"line 2: d\.jpg: "):
        convert(tmp_path, images, "file,caption\nd.jpg,x\n")


def test_a_csv_that_is_not_utf8_is_refused(tmp_path, images):
    with pytest.raises(UserError, match=r"captions\.csv: .*UTF-8"):
        convert(tmp_path, images, GOOD, "latin-1")

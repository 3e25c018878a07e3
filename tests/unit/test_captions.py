"""A folder of images and a CSV of captions become COCO's caption file."""

import pytest
from PIL import ExifTags, Image

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
    return folder


def converted(tmp_path, images, text, encoding="utf-8"):
    table = tmp_path / "captions.csv"
    table.write_bytes(text.encode(encoding))
    write(tmp_path / "out/annotations/captions_images.json", table, images)
    return CocoFolder(tmp_path / "out", "images", images=images, upright=True)


GOOD = """file,caption,note
a.jpg,"A dog, asleep",x
Süd/b.jpg,Ein Schiff,
c.png, grey ,
a.jpg,A bed,
"""


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig"])
def test_captions_and_upright_sizes_are_coco_s(tmp_path, images, encoding):
    folder = converted(tmp_path, images, GOOD, encoding)
    table = folder.captions()
    assert table[["file_name", "caption"]].to_numpy().tolist() == [
        ["a.jpg", "A dog, asleep"],
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
        ("file,caption\na.jpg,x\nnowhere.jpg,y\n", "line 3: no file "),
        ("file,caption\n../a.jpg,x\n", "line 2: '../a.jpg': not the name of a file"),
        ('file,caption\na.jpg,"x\n', "not readable as CSV"),
    ],
)
def test_a_fault_is_told_in_a_line(tmp_path, images, text, told):
    with pytest.raises(ValueError, match=r"captions\.csv: ") as error:
        converted(tmp_path, images, text)
    assert told in str(error.value) and "\n" not in str(error.value)
    assert not (tmp_path / "out").exists()


def test_one_image_has_one_name(tmp_path, images):
    table = converted(tmp_path, images, "file,caption\na.jpg,x\n./a.jpg,y\n").captions()
    assert table["image_id"].tolist() == [0, 0] and set(table["file_name"]) == {"a.jpg"}


def test_an_image_that_is_none_is_told(tmp_path, images):
    (images / "d.jpg").write_bytes(b"")
    with pytest.raises(ValueError, match=r"line 2: d\.jpg: not an image as JPEG, PNG or WebP"):
        converted(tmp_path, images, "file,caption\nd.jpg,x\n")


def test_another_encoding_is_told(tmp_path, images):
    with pytest.raises(ValueError, match="not readable as CSV in UTF-8"):
        converted(tmp_path, images, GOOD, "latin-1")

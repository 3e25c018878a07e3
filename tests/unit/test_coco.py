"""What odd files of a COCO folder may not do to the tables behind them."""

import json

import pytest
from PIL import Image, PngImagePlugin

from headimpact.dataset import scenes
from headimpact.dataset.coco import CocoFolder


@pytest.fixture
def folder(tmp_path):
    scenes.write(tmp_path, 3, 1, scenes.Look())
    return CocoFolder(tmp_path, "scenes")


def edit(folder, kind, part, **values):
    path = folder.root / f"annotations/{kind}_{folder.subset}.json"
    content = json.loads(path.read_text())
    content[part][0].update(values)
    path.write_text(json.dumps(content))


@pytest.mark.parametrize("number", [-1, 1 << 63, 1.0, True, None, "1"])
@pytest.mark.parametrize(
    ("kind", "part", "key"),
    [("captions", "annotations", "id"), ("instances", "images", "id")],
)
def test_ids_are_whole_numbers_that_a_table_holds(folder, kind, part, key, number):
    edit(folder, kind, part, **{key: number})
    with pytest.raises(ValueError, match=rf"{kind}_scenes.json: {part}\[0\].{key} is not a whole"):
        getattr(folder, kind)()


@pytest.mark.parametrize(("part", "key"), [("annotations", "caption"), ("images", "file_name")])
def test_text_that_no_file_can_hold_is_refused_by_name(folder, part, key):
    edit(folder, "captions", part, **{key: "a \ud800"})
    with pytest.raises(ValueError, match=rf"captions_scenes.json: {part}\[0\].{key} is not text"):
        folder.captions()


@pytest.mark.parametrize("description", [None, 3, "a \ud800"])
def test_an_instance_without_a_description_has_none(folder, description):
    edit(folder, "instances", "annotations", description=description)
    descriptions = folder.instances()["description"].tolist()
    assert descriptions[0] is None and all(isinstance(text, str) for text in descriptions[1:])


@pytest.mark.parametrize("iscrowd", [1, 0, None])
def test_a_crowd_is_one_or_none(folder, iscrowd):
    edit(folder, "instances", "annotations", iscrowd=iscrowd)
    assert folder.instances()["iscrowd"][0] is bool(iscrowd)


def test_an_image_counts_once_with_its_width_and_height(folder):
    assert (folder.captions()["image_id"].nunique(), len(folder.captions())) == (3, 15)
    for kind in ("captions", "instances"):
        edit(folder, kind, "images", width=7, height=5)
        first = getattr(folder, kind)().iloc[0]
        assert (first["width"], first["height"]) == (7, 5)


@pytest.mark.parametrize(
    ("mode", "form"),
    [
        *((mode, "PNG") for mode in ("1", "L", "P", "RGBA", "LA")),
        *((mode, "JPEG") for mode in ("L", "CMYK")),
        *((mode, "WEBP") for mode in ("RGB", "RGBA")),
    ],
)
def test_every_mode_comes_as_rgb(folder, mode, form):
    Image.new("RGB", (7, 5), (9, 9, 9)).convert(mode).save(folder.root / "scenes/x.jpg", form)
    image = folder.image("x.jpg")
    assert (image.mode, image.size) == ("RGB", (7, 5))


def test_an_image_is_not_turned_by_its_exif(folder):
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: a quarter turn
    Image.new("RGB", (7, 5)).save(folder.root / "scenes/x.jpg", exif=exif)
    assert folder.image("x.jpg").size == (7, 5)


def test_other_formats_are_refused(folder):
    """Some decoders of the library fail with other errors, or start other programs."""
    Image.new("RGB", (7, 5)).save(folder.root / "scenes/x.jpg", "TIFF")
    with pytest.raises(ValueError, match=r"x\.jpg: not a readable image"):
        folder.image("x.jpg")


@pytest.mark.parametrize("content", [None, b"[" * 100000])
def test_files_that_are_not_read_are_named(folder, content):
    file = folder.root / "annotations/captions_scenes.json"
    file.unlink()
    if content:
        file.write_bytes(content)
    with pytest.raises(
        ValueError, match=r"captions_scenes\.json: not readable .*download it again"
    ):
        folder.captions()


def broken(path):
    Image.new("L", (7, 9)).save(path, "PNG")
    whole = bytearray(path.read_bytes())
    whole[36] = 6  # of its 12 bytes, behind which no part begins
    path.write_bytes(whole)


def large(path):
    Image.new("L", (20, 20)).save(path, "PNG")


def wordy(path):
    text = PngImagePlugin.PngInfo()
    text.add_text("note", "x" * (2 << 20), zip=True)
    Image.new("L", (7, 9)).save(path, "PNG", pnginfo=text)


@pytest.mark.parametrize("make", [broken, large, wordy])
def test_what_the_library_will_not_read_is_named(folder, monkeypatch, make):
    make(folder.root / "scenes/x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # beyond twice as many it refuses
    with pytest.raises(ValueError, match=r"x\.png: not a readable image .*download it again"):
        folder.image("x.png")


@pytest.mark.parametrize(
    ("part", "values", "told"),
    [
        ("images", {"width": 0}, "has no size"),
        ("images", {"width": 1 << 16}, "has no size"),
        ("images", {"height": 0}, "has no size"),
        ("images", {"height": 1 << 16}, "has no size"),
        ("annotations", {"category_id": 99}, "no category 99"),
    ],
)
def test_values_that_cannot_be_are_named(folder, part, values, told):
    edit(folder, "instances", part, **values)
    with pytest.raises(ValueError, match=f"instances_scenes.json: .*{told}"):
        folder.instances()


@pytest.mark.parametrize("entry", [None, 1, "x", []])
def test_entries_that_are_no_objects_are_named(folder, entry):
    path = folder.root / "annotations/captions_scenes.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"annotations": [entry]}))
    with pytest.raises(ValueError, match=r"captions_scenes.json: annotations\[0\] is no object"):
        folder.captions()


def test_what_belongs_to_no_listed_image_is_left_out(folder):
    before = len(folder.captions()), len(folder.instances())
    for kind in ("captions", "instances"):
        edit(folder, kind, "annotations", image_id=999)
    assert (len(folder.captions()), len(folder.instances())) == (before[0] - 1, before[1] - 1)


LEAVING = [
    "/etc/hostname",
    "../x.png",
    "a/../../x.png",
    "..",
    "a\\b.png",
    "C:x.png",
    "a\0.png",
    "a\nb.png",
    "",
    ".",
]


@pytest.mark.parametrize("name", LEAVING)
@pytest.mark.parametrize("kind", ["captions", "instances"])
def test_a_name_that_leaves_the_folder_is_refused_by_name(folder, kind, name):
    edit(folder, kind, "images", file_name=name)
    with pytest.raises(ValueError, match=f"{kind}_scenes.json: .*not the name of a file") as error:
        getattr(folder, kind)()
    assert repr(name) in str(error.value) and "\n" not in str(error.value)


def test_a_link_that_its_owner_put_there_is_followed(folder, tmp_path):
    Image.new("RGB", (7, 5)).save(tmp_path / "elsewhere.png")
    (folder.images_folder / "x.png").symlink_to(tmp_path / "elsewhere.png")
    assert folder.image("x.png").size == (7, 5)

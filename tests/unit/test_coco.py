"""What odd files of a COCO folder may not do to the tables behind them."""

import json

import pytest
from PIL import Image

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


def test_an_instance_without_a_description_has_none(folder):
    edit(folder, "instances", "annotations", description=None)
    descriptions = folder.instances()["description"].tolist()
    assert descriptions[0] is None and all(isinstance(text, str) for text in descriptions[1:])


@pytest.mark.parametrize("mode", ["L", "P", "RGBA", "CMYK", "LA"])
def test_every_mode_comes_as_rgb(folder, mode):
    form = "JPEG" if mode == "CMYK" else "PNG"
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


@pytest.mark.parametrize(
    ("part", "values", "told"),
    [
        ("images", {"width": 0}, "has no size"),
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

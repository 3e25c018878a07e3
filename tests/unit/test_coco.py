"""Malformed files of a COCO folder are refused, and unusual ones are read correctly."""

import json

import pytest
from PIL import Image, PngImagePlugin

from headimpact.dataset import scenes
from headimpact.dataset.coco import CocoFolder
from headimpact.guards import UserError


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
def test_an_id_that_is_not_a_whole_number_from_0_is_refused(folder, kind, part, key, number):
    edit(folder, kind, part, **{key: number})
    with pytest.raises(UserError, match=rf"{kind}_scenes.json: {part}\[0\].{key} "):
        getattr(folder, kind)()


@pytest.mark.parametrize(("part", "key"), [("annotations", "caption"), ("images", "file_name")])
def test_text_with_a_lone_surrogate_is_refused(folder, part, key):
    edit(folder, "captions", part, **{key: "a \ud800"})
    with pytest.raises(UserError, match=rf"captions_scenes.json: {part}\[0\].{key} "):
        folder.captions()


@pytest.mark.parametrize("description", [None, 3, "a \ud800"])
def test_a_description_that_is_not_text_is_none(folder, description):
    edit(folder, "instances", "annotations", description=description)
    descriptions = folder.instances()["description"].tolist()
    assert descriptions[0] is None and all(isinstance(text, str) for text in descriptions[1:])


@pytest.mark.parametrize("iscrowd", [1, 0, None])
def test_iscrowd_is_read_as_a_bool(folder, iscrowd):
    edit(folder, "instances", "annotations", iscrowd=iscrowd)
    assert folder.instances()["iscrowd"][0] is bool(iscrowd)


def test_captions_and_instances_have_the_size_of_their_image(folder):
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
def test_every_mode_is_decoded_as_rgb(folder, mode, form):
    Image.new("RGB", (7, 5), (9, 9, 9)).convert(mode).save(folder.root / "scenes/x.jpg", form)
    image = folder.image("x.jpg")
    assert (image.mode, image.size) == ("RGB", (7, 5))


def test_an_image_is_not_rotated_by_its_exif_orientation(folder):
    exif = Image.Exif()
    exif[0x0112] = 6  # orientation: rotated by 90 degrees
    Image.new("RGB", (7, 5)).save(folder.root / "scenes/x.jpg", exif=exif)
    assert folder.image("x.jpg").size == (7, 5)


def test_other_formats_are_refused(folder):
    """Some decoders of Pillow raise other errors, or start other programs."""
    Image.new("RGB", (7, 5)).save(folder.root / "scenes/x.jpg", "TIFF")
    with pytest.raises(UserError, match=r"x\.jpg: not a readable image"):
        folder.image("x.jpg")


@pytest.mark.parametrize("content", [None, b"[" * 100000])
def test_a_missing_or_malformed_annotation_file_is_refused(folder, content):
    file = folder.root / "annotations/captions_scenes.json"
    file.unlink()
    if content:
        file.write_bytes(content)
    with pytest.raises(UserError, match=r"captions_scenes\.json: .*download it again"):
        folder.captions()


def damaged_chunk(path):
    Image.new("L", (7, 9)).save(path, "PNG")
    content = bytearray(path.read_bytes())
    content[36] = 6  # The chunk has 12 bytes, and no chunk begins after 6 of them.
    path.write_bytes(content)


def too_many_pixels(path):
    Image.new("L", (20, 20)).save(path, "PNG")


def too_much_text(path):
    text = PngImagePlugin.PngInfo()
    text.add_text("note", "x" * (2 << 20), zip=True)
    Image.new("L", (7, 9)).save(path, "PNG", pnginfo=text)


@pytest.mark.parametrize("make", [damaged_chunk, too_many_pixels, too_much_text])
def test_an_image_that_pillow_refuses_is_reported(folder, monkeypatch, make):
    make(folder.root / "scenes/x.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 100)  # Pillow refuses more than twice as many
    with pytest.raises(UserError, match=r"x\.png: .*download it again"):
        folder.image("x.png")


@pytest.mark.parametrize(
    ("part", "values", "message"),
    [
        ("images", {"width": 0}, "has no size"),
        ("images", {"width": 1 << 16}, "has no size"),
        ("images", {"height": 0}, "has no size"),
        ("images", {"height": 1 << 16}, "has no size"),
        ("annotations", {"category_id": 99}, "no category 99"),
    ],
)
def test_impossible_sizes_and_unknown_categories_are_refused(folder, part, values, message):
    edit(folder, "instances", part, **values)
    with pytest.raises(UserError, match=f"instances_scenes.json: .*{message}"):
        folder.instances()


@pytest.mark.parametrize("entry", [None, 1, "x", []])
def test_an_entry_that_is_not_an_object_is_refused(folder, entry):
    path = folder.root / "annotations/captions_scenes.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"annotations": [entry]}))
    with pytest.raises(UserError, match=r"captions_scenes.json: annotations\[0\] "):
        folder.captions()


def test_annotations_of_unlisted_images_are_ignored(folder):
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
def test_a_name_that_leads_out_of_the_folder_is_refused(folder, kind, name):
    edit(folder, kind, "images", file_name=name)
    with pytest.raises(UserError, match=f"{kind}_scenes.json: .*not the name of a file") as error:
        getattr(folder, kind)()
    assert repr(name) in str(error.value) and "\n" not in str(error.value)


def test_a_symbolic_link_in_the_folder_is_followed(folder, tmp_path):
    Image.new("RGB", (7, 5)).save(tmp_path / "elsewhere.png")
    (folder.images_folder / "x.png").symlink_to(tmp_path / "elsewhere.png")
    assert folder.image("x.png").size == (7, 5)

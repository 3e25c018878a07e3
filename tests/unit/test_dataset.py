"""A folder in COCO's layout, the annotator `instances`, and the samples made from both."""

import json
import os

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from headimpact.annotate.instances import annotate, read_instances
from headimpact.dataset import scenes
from headimpact.dataset.coco import CocoFolder
from headimpact.dataset.masks import decode, encode
from headimpact.dataset.samples import draw_images, make_samples, split_sizes
from headimpact.guards import UserError

PAPER = {"impact": 1000, "train": 1200, "validation": 300, "test": 500}
TEMPLATE = "{article} {category}"


@pytest.fixture
def folder(tmp_path):
    scenes.write(tmp_path, 30, 1, scenes.Look())
    return CocoFolder(tmp_path, "scenes")


def edit(folder, kind, change):
    path = folder.root / f"annotations/{kind}_{folder.subset}.json"
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def test_a_missing_folder_or_file_is_named_with_its_key(tmp_path, folder):
    folder.check()
    with pytest.raises(UserError, match=r"dataset.root: no folder .*nowhere"):
        CocoFolder(tmp_path / "nowhere", "val2017").check()
    with pytest.raises(UserError, match=r"dataset.subset: no folder"):
        CocoFolder(tmp_path, "val2017").check()
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match=r"dataset.root: no folder .*file; "):
        CocoFolder(tmp_path / "file", "val2017").check()
    with pytest.raises(UserError, match=r"dataset.subset: no folder .*file; "):
        CocoFolder(tmp_path, "scenes", images=tmp_path / "file").check()
    for kind, remaining in (("instances", ["captions"]), ("captions", [])):
        (tmp_path / f"annotations/{kind}_scenes.json").unlink()
        (tmp_path / f"annotations/{kind}_scenes.json").mkdir()
        for kinds in ([], [[*remaining, kind]]):
            with pytest.raises(UserError, match=rf"no file .*{kind}_scenes.json"):
                folder.check(*kinds)
        folder.check(remaining)


@pytest.mark.parametrize(
    "name", ["../x.png", "/etc/passwd", "a/../../b.png", "..", "", "a\\b.png", "C:x.png", "a\0.png"]
)
def test_a_name_that_leads_out_of_the_folder_is_not_opened(folder, name):
    with pytest.raises(UserError, match="not the name of a file"):
        folder.image(name)


def test_images_may_lie_in_another_folder_and_its_subfolders(folder, tmp_path):
    name, width, height = folder.captions().loc[0, ["file_name", "width", "height"]]
    (tmp_path / "else/day one").mkdir(parents=True)
    (tmp_path / "scenes" / name).rename(tmp_path / "else/day one" / name)
    (tmp_path / "scenes" / name).mkdir()
    moved = CocoFolder(tmp_path, "scenes", images=tmp_path / "else")
    assert moved.image(f"day one/{name}").size == (width, height)
    with pytest.raises(UserError, match=f"30 of 30 images are missing, {name} first"):
        moved.check_images()
    with pytest.raises(UserError, match=f"1 of 30 images are missing, {name} first"):
        folder.check_images()
    (tmp_path / "scenes").rename(tmp_path / "renamed")
    moved.check()


def test_transparent_pixels_are_white_and_16_bits_become_8(tmp_path):
    (tmp_path / "x").mkdir()
    values = np.array([[0, 128, 255], [3, 200, 77]], np.uint8)
    clear = np.dstack([values] * 3 + [np.array([[255, 0, 255], [128, 255, 0]], np.uint8)])
    Image.fromarray(clear, "RGBA").save(tmp_path / "x/clear.png")
    Image.fromarray(values.astype(np.uint16) * 257).save(tmp_path / "x/deep.png")
    palette = Image.fromarray(values).convert("P")
    palette.save(tmp_path / "x/palette.png", transparency=128)
    folder = CocoFolder(tmp_path, "x")
    red = np.asarray(folder.image("clear.png"))[..., 0]
    assert red.tolist() == [[0, 255, 255], [129, 200, 255]]
    assert np.asarray(folder.image("deep.png"))[..., 0].tolist() == values.tolist()
    red = np.asarray(folder.image("palette.png"))[..., 0]
    assert red.tolist() == np.where(values == 128, 255, values).tolist()


def test_a_photograph_is_rotated_only_if_upright_is_set(tmp_path):
    (tmp_path / "x").mkdir()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # the camera was rotated by 90 degrees
    Image.new("RGB", (40, 30)).save(tmp_path / "x/a.jpg", exif=exif)
    assert CocoFolder(tmp_path, "x").image("a.jpg").size == (40, 30)
    assert CocoFolder(tmp_path, "x", upright=True).image("a.jpg").size == (30, 40)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("valid", [True, False])
def test_every_exif_orientation_is_undone(tmp_path, orientation, valid):
    """Also if the EXIF data has an entry of a wrong type, which Pillow can read but not write."""
    undo = [None, None, *(Image.Transpose(number) for number in (0, 3, 1, 5, 2, 6, 4))][orientation]
    upright = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8))
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "a maker"
    exif[ExifTags.Base.Orientation] = orientation
    exif_bytes = exif.tobytes()
    if not valid:  # The entry Make becomes ImageWidth, with text as its value.
        exif_bytes = exif_bytes.replace(b"\x01\x0f\x00\x02", b"\x01\x00\x00\x02")
    (tmp_path / "x").mkdir()
    stored = upright if undo is None else upright.transpose(undo)
    stored.save(tmp_path / "x/a.png", exif=exif_bytes)
    image = CocoFolder(tmp_path, "x", upright=True).image("a.png")
    assert (np.asarray(image)[..., 0] == np.asarray(upright)).all()


ARBITRARY = st.recursive(
    st.none() | st.integers(-5, 5) | st.text(max_size=4) | st.booleans(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["images", "annotations", "categories", "id", "image_id", "caption", "file_name"]
            ),
            inner,
            max_size=4,
        )
    ),
    max_leaves=12,
)


@given(ARBITRARY)
def test_an_arbitrary_annotation_file_is_read_or_refused_in_one_line(tmp_path_factory, content):
    root = tmp_path_factory.mktemp("arbitrary")
    (root / "annotations").mkdir()
    for kind in ("captions", "instances"):
        (root / f"annotations/{kind}_x.json").write_text(json.dumps(content))
    for read in (CocoFolder(root, "x").captions, CocoFolder(root, "x").instances):
        try:
            read()
        except UserError as error:
            assert "_x.json" in str(error) and "\n" not in str(error)


def test_the_draw_depends_only_on_the_seed(folder):
    captions = folder.captions()
    first = draw_images(captions, 20, 3)
    pd.testing.assert_frame_equal(first, draw_images(captions.sample(frac=1), 20, 3))
    pd.testing.assert_frame_equal(first.head(12), draw_images(captions, 12, 3))
    assert first["image_id"].is_unique
    assert not first.equals(draw_images(captions, 20, 4))
    with pytest.raises(UserError, match="asks for 31 images, the dataset has 30"):
        draw_images(captions, 31, 3)


def drawn(folder, count):
    return draw_images(folder.captions(), count, 0).assign(annotator="instances", sha256="")


def annotated(folder, count=30):
    images = drawn(folder, count)
    return images, *annotate(folder, images, TEMPLATE, read_instances(folder, images))


def test_instances_of_scenes_have_their_own_descriptions(folder):
    images, annotations, dropped = annotated(folder)
    assert len(dropped) == 0
    assert set(annotations["image_id"]) == set(images["image_id"])
    assert annotations["description"].str.match("a (small|large) ").all()
    row = annotations.iloc[0]
    size = images.set_index("image_id").loc[row["image_id"], ["height", "width"]]
    ys, xs = np.nonzero(decode(row["mask"], *size))
    assert [row["x0"], row["y0"]] == [xs.min(), ys.min()]
    assert [row["x1"], row["y1"]] == [xs.max() + 1, ys.max() + 1]


def test_categories_get_an_article_and_crowds_are_left_out(folder):
    def change(content):
        content["categories"][0]["name"] = "umbrella"
        for entry in content["annotations"]:
            entry["category_id"] = 1
            del entry["description"]
        content["annotations"][0]["iscrowd"] = 1
        content["annotations"][1]["segmentation"] = {"size": [1, 1], "counts": "0"}

    edit(folder, "instances", change)
    _, annotations, dropped = annotated(folder)
    assert set(annotations["description"]) == {"an umbrella"}
    assert sorted(dropped["reason"]) == ["crowd region", "malformed mask"]


def test_damaged_images_are_left_out_with_their_reason(folder):
    images = drawn(folder, 30)
    truncated, missing, resized = (
        folder.root / "scenes" / name for name in images["file_name"][:3]
    )
    truncated.write_bytes(truncated.read_bytes()[:300])
    missing.unlink()
    Image.new("RGB", (5, 5)).save(resized)
    annotations, dropped = annotate(folder, images, TEMPLATE, read_instances(folder, images))
    reasons = dropped.set_index("file_name")["reason"]
    assert reasons[truncated.name].startswith("damaged image")
    assert str(truncated) in reasons[truncated.name]
    assert reasons[missing.name].startswith("damaged image")
    assert reasons[resized.name].startswith("size differs")
    damaged_ids = set(images["image_id"][:3])
    assert not damaged_ids & set(annotations["image_id"])
    samples, _, all_dropped = make(images, annotations, dropped, 20)
    assert not damaged_ids & set(samples["image_id"])
    assert len(all_dropped) == 3
    with pytest.raises(UserError, match="27 of 30 drawn") as error:
        make(images, annotations, dropped, 28)
    assert "1 size differs" in str(error.value)


def make(images, annotations, dropped, count, objects_per_image=None, order="annotation"):
    limits = {"impact": None, "train": 1, "validation": 1, "test": 1, **(objects_per_image or {})}
    sizes = split_sizes(count, PAPER)
    annotators = dict.fromkeys(PAPER, "instances")
    return make_samples(
        images, annotations, dropped, sizes, annotators, 0.85, limits, order, seed=0
    )


def test_splits_share_no_image_and_follow_the_order_of_the_draw(folder):
    samples, objects, _ = make(*annotated(folder), 30)
    assert samples["image_id"].is_unique
    assert samples["split"].value_counts().to_dict() == split_sizes(30, PAPER)
    assert samples["image_id"].tolist() == annotated(folder)[0]["image_id"].tolist()
    assert objects["object_id"].tolist() == list(range(len(objects)))
    object_counts = objects.groupby("sample_id").size()
    is_impact = (samples["split"] == "impact").to_numpy()
    assert (object_counts[~is_impact] == 1).all() and object_counts[is_impact].max() > 1


def test_masks_with_low_confidence_and_empty_masks_are_left_out(folder):
    images, annotations, dropped = annotated(folder)
    annotations.loc[0, "confidence"] = 0.84
    size = images.set_index("image_id").loc[annotations["image_id"][1], ["height", "width"]]
    annotations.loc[1, "mask"] = encode(np.zeros(size.to_numpy(), bool))
    _, _, all_dropped = make(images, annotations, dropped, 20)
    reasons = sorted(set(all_dropped["reason"]))
    assert reasons == ["confidence below 0.85", "empty mask", "no key object"]


def test_by_area_the_largest_object_is_chosen(folder):
    images, annotations, dropped = annotated(folder)
    samples, objects, _ = make(images, annotations, dropped, 30, order="area")
    samples = samples.set_index("sample_id")
    sizes = images.set_index("image_id")
    for item in objects.itertuples():
        image = samples.loc[item.sample_id, "image_id"]
        if samples.loc[item.sample_id, "split"] == "test":
            shape = sizes.loc[image, ["height", "width"]]
            masks = annotations[annotations["image_id"] == image]["mask"]
            assert decode(item.mask, *shape).sum() == max(decode(m, *shape).sum() for m in masks)


def test_a_random_choice_does_not_depend_on_other_images(folder):
    images, annotations, dropped = annotated(folder)
    options = {"order": "random", "objects_per_image": {"impact": 1}}
    _, objects_of_30, _ = make(images, annotations, dropped, 30, **options)
    _, objects_of_20, _ = make(images, annotations, dropped, 20, **options)
    assert objects_of_30["mask"].tolist()[:20] == objects_of_20["mask"].tolist()


def test_photographs_are_annotated_by_their_instances():
    root = os.environ.get("HEADIMPACT_COCO")
    if not root:
        pytest.skip("HEADIMPACT_COCO names no folder of photographs in COCO's layout")
    folder = CocoFolder(root, "val2017")
    folder.check()
    images = drawn(folder, folder.captions()["image_id"].nunique())
    annotations, dropped = annotate(folder, images, TEMPLATE, read_instances(folder, images))
    assert not dropped["reason"].str.startswith("damaged").any()
    crowds = folder.instances()["iscrowd"].sum()
    assert (dropped["reason"] == "crowd region").sum() == crowds
    assert len(annotations) == len(folder.instances()) - len(dropped)
    sizes = images.set_index("image_id")
    for row in annotations.itertuples():
        image = sizes.loc[row.image_id]
        assert decode(row.mask, int(image["height"]), int(image["width"])).any()

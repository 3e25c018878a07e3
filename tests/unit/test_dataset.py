"""A folder in COCO's layout, the annotator `instances`, and samples drawn from both."""

import json
import os

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import ExifTags, Image

from headimpact.annotate.instances import annotate
from headimpact.dataset import scenes
from headimpact.dataset.coco import CocoFolder
from headimpact.dataset.masks import decode, encode
from headimpact.dataset.samples import draw_images, make_samples, split_sizes

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


@given(st.integers(10, 5000))
def test_split_sizes_sum_and_stay_close(images):
    sizes = split_sizes(images, PAPER)
    assert sum(sizes.values()) == images
    assert all(abs(sizes[split] - images * PAPER[split] / 3000) < 1 for split in PAPER)


def test_the_papers_splits_and_too_few_images():
    assert split_sizes(3000, PAPER) == PAPER
    with pytest.raises(ValueError, match=r"sampling\.images"):
        split_sizes(3, PAPER)


def test_what_is_missing_is_named(tmp_path, folder):
    folder.check()
    with pytest.raises(ValueError, match=r"dataset.root: no folder .*nowhere"):
        CocoFolder(tmp_path / "nowhere", "val2017").check()
    with pytest.raises(ValueError, match=r"dataset.subset: no folder"):
        CocoFolder(tmp_path, "val2017").check()
    (tmp_path / "file").touch()
    with pytest.raises(ValueError, match=r"dataset.root: no folder .*file; "):
        CocoFolder(tmp_path / "file", "val2017").check()
    with pytest.raises(ValueError, match=r"dataset.subset: no folder .*file; "):
        CocoFolder(tmp_path, "scenes", images=tmp_path / "file").check()
    for kind, rest in (("instances", ["captions"]), ("captions", [])):
        (tmp_path / f"annotations/{kind}_scenes.json").unlink()
        (tmp_path / f"annotations/{kind}_scenes.json").mkdir()
        for kinds in ([], [[*rest, kind]]):
            with pytest.raises(ValueError, match=rf"no file .*{kind}_scenes.json"):
                folder.check(*kinds)
        folder.check(rest)


@pytest.mark.parametrize(
    "name", ["../x.png", "/etc/passwd", "a/../../b.png", "..", "", "a\\b.png", "C:x.png", "a\0.png"]
)
def test_a_name_cannot_leave_the_folder(folder, name):
    with pytest.raises(ValueError, match="not the name of a file"):
        folder.image(name)


def test_images_may_lie_in_a_folder_of_their_own_and_below_it(folder, tmp_path):
    name, width, height = folder.captions().loc[0, ["file_name", "width", "height"]]
    (tmp_path / "else/day one").mkdir(parents=True)
    (tmp_path / "scenes" / name).rename(tmp_path / "else/day one" / name)
    (tmp_path / "scenes" / name).mkdir()
    moved = CocoFolder(tmp_path, "scenes", images=tmp_path / "else")
    assert moved.image(f"day one/{name}").size == (width, height)
    with pytest.raises(ValueError, match=f"30 of 30 images are missing, {name} first"):
        moved.check_images()
    with pytest.raises(ValueError, match=f"1 of 30 images are missing, {name} first"):
        folder.check_images()
    (tmp_path / "scenes").rename(tmp_path / "gone")
    moved.check()


def test_transparent_is_white_and_16_bits_are_8(tmp_path):
    (tmp_path / "x").mkdir()
    values = np.array([[0, 128, 255], [3, 200, 77]], np.uint8)
    clear = np.dstack([values] * 3 + [np.array([[255, 0, 255], [128, 255, 0]], np.uint8)])
    Image.fromarray(clear, "RGBA").save(tmp_path / "x/clear.png")
    Image.fromarray(values.astype(np.uint16) * 257).save(tmp_path / "x/deep.png")
    palette = Image.fromarray(values).convert("P")
    palette.save(tmp_path / "x/palette.png", transparency=128)
    folder = CocoFolder(tmp_path, "x")
    seen = np.asarray(folder.image("clear.png"))[..., 0]
    assert seen.tolist() == [[0, 255, 255], [129, 200, 255]]
    assert np.asarray(folder.image("deep.png"))[..., 0].tolist() == values.tolist()
    seen = np.asarray(folder.image("palette.png"))[..., 0]
    assert seen.tolist() == np.where(values == 128, 255, values).tolist()


def test_a_turned_photograph_stands_upright_where_that_is_asked_for(tmp_path):
    (tmp_path / "x").mkdir()
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = 6  # the camera was turned by a quarter
    Image.new("RGB", (40, 30)).save(tmp_path / "x/a.jpg", exif=exif)
    assert CocoFolder(tmp_path, "x").image("a.jpg").size == (40, 30)
    assert CocoFolder(tmp_path, "x", upright=True).image("a.jpg").size == (30, 40)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("sound", [True, False])
def test_every_turn_of_a_camera_is_undone(tmp_path, orientation, sound):
    """Also beside notes of another type than EXIF's, which Pillow reads but will not write."""
    undo = [None, None, *(Image.Transpose(turn) for turn in (0, 3, 1, 5, 2, 6, 4))][orientation]
    upright = Image.fromarray(np.arange(48, dtype=np.uint8).reshape(6, 8))
    exif = Image.Exif()
    exif[ExifTags.Base.Make] = "a maker"
    exif[ExifTags.Base.Orientation] = orientation
    notes = exif.tobytes()
    if not sound:
        notes = notes.replace(b"\x01\x0f\x00\x02", b"\x01\x00\x00\x02")  # its width, as text
    (tmp_path / "x").mkdir()
    stored = upright if undo is None else upright.transpose(undo)
    stored.save(tmp_path / "x/a.png", exif=notes)
    image = CocoFolder(tmp_path, "x", upright=True).image("a.png")
    assert (np.asarray(image)[..., 0] == np.asarray(upright)).all()


ODD = st.recursive(
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


@given(ODD)
def test_odd_annotation_files_are_refused_in_one_line(tmp_path_factory, content):
    root = tmp_path_factory.mktemp("odd")
    (root / "annotations").mkdir()
    for kind in ("captions", "instances"):
        (root / f"annotations/{kind}_x.json").write_text(json.dumps(content))
    for read in (CocoFolder(root, "x").captions, CocoFolder(root, "x").instances):
        try:
            read()
        except ValueError as error:
            assert "_x.json" in str(error) and "\n" not in str(error)


def test_drawing_is_fixed_by_the_seed_alone(folder):
    captions = folder.captions()
    first = draw_images(captions, 20, 3)
    pd.testing.assert_frame_equal(first, draw_images(captions.sample(frac=1), 20, 3))
    pd.testing.assert_frame_equal(first.head(12), draw_images(captions, 12, 3))
    assert first["image_id"].is_unique
    assert not first.equals(draw_images(captions, 20, 4))
    with pytest.raises(ValueError, match="asks for 31 images, the dataset has 30"):
        draw_images(captions, 31, 3)


def drawn(folder, count):
    return draw_images(folder.captions(), count, 0).assign(annotator="instances", sha256="")


def found(folder, count=30):
    images = drawn(folder, count)
    return images, *annotate(folder, images, TEMPLATE)


def test_scenes_bring_their_own_descriptions(folder):
    images, annotations, dropped = found(folder)
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
    _, annotations, dropped = found(folder)
    assert set(annotations["description"]) == {"an umbrella"}
    assert sorted(dropped["reason"]) == ["crowd region", "malformed mask"]


def test_damaged_images_are_named_left_out_and_counted(folder):
    images = drawn(folder, 30)
    cut, gone, other = (folder.root / "scenes" / name for name in images["file_name"][:3])
    cut.write_bytes(cut.read_bytes()[:300])
    gone.unlink()
    Image.new("RGB", (5, 5)).save(other)
    annotations, dropped = annotate(folder, images, TEMPLATE)
    reasons = dropped.set_index("file_name")["reason"]
    assert reasons[cut.name].startswith("damaged image") and str(cut) in reasons[cut.name]
    assert reasons[gone.name].startswith("damaged image")
    assert reasons[other.name].startswith("size differs")
    left = set(images["image_id"][:3])
    assert not left & set(annotations["image_id"])
    samples, _, all_dropped = make(images, annotations, dropped, 20)
    assert not left & set(samples["image_id"])
    assert len(all_dropped) == 3
    with pytest.raises(ValueError, match="27 of 30 drawn") as error:
        make(images, annotations, dropped, 28)
    assert "1 size differs" in str(error.value)


def make(images, annotations, dropped, count, least=0.85, per_image=None, order="annotation"):
    keep = {"impact": None, "train": 1, "validation": 1, "test": 1, **(per_image or {})}
    sizes = split_sizes(count, PAPER)
    by = dict.fromkeys(PAPER, "instances")
    return make_samples(images, annotations, dropped, sizes, by, least, keep, order, seed=0)


def test_splits_share_no_image_and_keep_the_order_of_the_draw(folder):
    samples, objects, _ = make(*found(folder), 30)
    assert samples["image_id"].is_unique
    assert samples["split"].value_counts().to_dict() == split_sizes(30, PAPER)
    assert samples["image_id"].tolist() == found(folder)[0]["image_id"].tolist()
    assert objects["object_id"].tolist() == list(range(len(objects)))
    many = objects.groupby("sample_id").size()
    first = samples["split"] == "impact"
    assert (many[~first.to_numpy()] == 1).all() and many[first.to_numpy()].max() > 1


def test_unsure_and_empty_masks_are_counted(folder):
    images, annotations, dropped = found(folder)
    annotations.loc[0, "confidence"] = 0.84
    size = images.set_index("image_id").loc[annotations["image_id"][1], ["height", "width"]]
    annotations.loc[1, "mask"] = encode(np.zeros(size.to_numpy(), bool))
    _, _, lost = make(images, annotations, dropped, 20)
    assert sorted(set(lost["reason"])) == ["confidence below 0.85", "empty mask", "no key object"]


def test_the_largest_object_comes_first(folder):
    images, annotations, dropped = found(folder)
    samples, objects, _ = make(images, annotations, dropped, 30, order="area")
    samples = samples.set_index("sample_id")
    sizes = images.set_index("image_id")
    for item in objects.itertuples():
        image = samples.loc[item.sample_id, "image_id"]
        if samples.loc[item.sample_id, "split"] == "test":
            shape = sizes.loc[image, ["height", "width"]]
            mine = annotations[annotations["image_id"] == image]["mask"]
            assert decode(item.mask, *shape).sum() == max(decode(m, *shape).sum() for m in mine)


def test_a_random_choice_does_not_depend_on_other_images(folder):
    images, annotations, dropped = found(folder)
    per_image = {"impact": 1}
    _, one, _ = make(images, annotations, dropped, 30, order="random", per_image=per_image)
    _, two, _ = make(images, annotations, dropped, 20, order="random", per_image=per_image)
    assert one["mask"].tolist()[:20] == two["mask"].tolist()


def test_real_photographs():
    root = os.environ.get("HEADIMPACT_COCO")
    if not root:
        pytest.skip("HEADIMPACT_COCO names no folder of photographs in COCO's layout")
    folder = CocoFolder(root, "val2017")
    folder.check()
    images = drawn(folder, folder.captions()["image_id"].nunique())
    annotations, dropped = annotate(folder, images, TEMPLATE)
    assert not dropped["reason"].str.startswith("damaged").any()
    crowds = folder.instances()["iscrowd"].sum()
    assert (dropped["reason"] == "crowd region").sum() == crowds
    assert len(annotations) == len(folder.instances()) - len(dropped)
    sizes = images.set_index("image_id")
    for row in annotations.itertuples():
        image = sizes.loc[row.image_id]
        assert decode(row.mask, int(image["height"]), int(image["width"])).any()

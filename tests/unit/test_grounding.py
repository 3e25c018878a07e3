"""The annotator `florence2_sam2`: objects from phrases and boxes, and the reasons of drops."""

import itertools
import os

import numpy as np
import pytest

from headimpact import artifacts
from headimpact.annotate.florence2 import Grounder
from headimpact.annotate.grounding import annotate, annotate_with
from headimpact.annotate.sam2 import Segmenter
from headimpact.dataset import scenes
from headimpact.dataset.coco import CocoFolder
from headimpact.dataset.masks import decode
from headimpact.miniature.annotators import save_florence2, save_sam2


@pytest.fixture(scope="module")
def checkpoints_folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("annotators")
    save_florence2(folder / "florence2")
    save_sam2(folder / "sam2")
    return folder


@pytest.fixture(scope="module")
def models(checkpoints_folder):
    return Grounder(checkpoints_folder / "florence2"), Segmenter(checkpoints_folder / "sam2")


@pytest.fixture
def folder(tmp_path):
    scenes.write(tmp_path, 7, 1, scenes.Look())
    return CocoFolder(tmp_path, "scenes")


def first_captions(folder):
    return folder.captions().drop_duplicates("image_id", ignore_index=True)


class FakeGrounder:
    """A grounder that answers each caption with the given pairs of phrase and box."""

    def __init__(self, pairs):
        self.pairs, self.batches = pairs, []

    def ground(self, images, captions):
        self.batches.append(captions)
        return [self.pairs.get(caption, []) for caption in captions]


class FakeSegmenter:
    """A segmenter whose mask is the box, with a confidence by the box's left edge."""

    def __init__(self):
        self.calls = []

    def segment(self, image, boxes):
        self.calls.append((image, list(boxes)))
        masks = np.zeros((len(boxes), image.height, image.width), dtype=bool)
        for mask, (x0, y0, x1, y1) in zip(masks, boxes, strict=True):
            mask[round(y0) : round(y1), round(x0) : round(x1)] = True
        return masks, np.array([box[0] / 100 for box in boxes], dtype=np.float32)


def test_each_box_is_an_object_and_unusable_ones_are_counted(folder):
    images = first_captions(folder)
    images["caption"] = [f"caption {n}" for n in range(len(images))]
    pairs = [
        ("a dog", (10.5, 20.25, 30.75, 40.5)),
        ("a dog", (50.0, 20.0, 90.0, 60.0)),
        ("", (1.0, 1.0, 9.0, 9.0)),
        ("a cat", (30.0, 9.0, 30.0, 40.0)),
        ("a cat", (30.0, 9.0, 40.0, 8.0)),
        ("a hat", (2.0, 3.0, 4.0, 6.0)),
    ]
    annotations, dropped = annotate_with(
        folder, images, FakeGrounder({"caption 2": pairs}), FakeSegmenter(), 3
    )
    row = images.iloc[2]
    assert set(annotations["image_id"]) == {row["image_id"]}
    assert annotations["description"].tolist() == ["a dog", "a dog", "a hat"]
    boxes = [pairs[n][1] for n in (0, 1, 5)]
    assert [tuple(box) for box in annotations[["x0", "y0", "x1", "y1"]].to_numpy()] == boxes
    assert annotations["confidence"].tolist() == pytest.approx([0.105, 0.5, 0.02])  # none filtered
    areas = [decode(mask, row["height"], row["width"]).sum() for mask in annotations["mask"]]
    assert areas == [(41 - 20 - 1) * (31 - 10), 40 * 40, 3 * 2]
    reasons = ["no phrase", "box without area", "box without area"]
    assert dropped.to_dict("list") == {
        "image_id": [row["image_id"]] * 3,
        "file_name": [row["file_name"]] * 3,
        "reason": reasons,
    }


def test_a_damaged_image_is_left_out_and_the_others_are_annotated(folder):
    images = first_captions(folder)
    (folder.root / folder.subset / images["file_name"][1]).write_bytes(b"\xff\xd8 no image")
    images.loc[4, "width"] += 1
    pairs = {caption: [("it", (1.0, 1.0, 9.0, 9.0))] for caption in images["caption"]}
    grounder = FakeGrounder(pairs)
    annotations, dropped = annotate_with(folder, images, grounder, FakeSegmenter(), 2)
    intact = images.drop(index=[1, 4])
    assert annotations["image_id"].tolist() == intact["image_id"].tolist()
    assert dropped["file_name"].tolist() == images["file_name"][[1, 4]].tolist()
    damaged, resized = dropped["reason"]
    assert damaged.startswith("damaged image: ") and images["file_name"][1] in damaged
    assert resized == "size differs from the annotation file"
    assert [*itertools.chain(*grounder.batches)] == intact["caption"].tolist()
    assert max(map(len, grounder.batches)) == 2


def test_an_image_is_segmented_with_its_own_boxes(folder):
    images = first_captions(folder)
    images["caption"] = [f"caption {n}" for n in range(len(images))]
    pairs = {f"caption {n}": [("it", (n, n, n + 5.0, n + 5.0))] for n in range(len(images))}
    segmenter = FakeSegmenter()
    annotate_with(folder, images, FakeGrounder(pairs), segmenter, 4)
    for n, (image, boxes) in enumerate(segmenter.calls):
        assert boxes == [(n, n, n + 5.0, n + 5.0)]
        assert image.tobytes() == folder.image(images["file_name"][n]).tobytes()


def test_without_phrases_or_images_the_tables_are_empty(folder, tmp_path):
    for images in (first_captions(folder), first_captions(folder).head(0)):
        annotations, dropped = annotate_with(folder, images, FakeGrounder({}), FakeSegmenter(), 8)
        artifacts.write(tmp_path / "a.parquet", "annotations", annotations)
        artifacts.write(tmp_path / "d.parquet", "dropped", dropped)
        assert len(artifacts.read(tmp_path / "a.parquet", "annotations")) == 0
        assert len(artifacts.read(tmp_path / "d.parquet", "dropped")) == 0


def check_annotations(folder, images, models, path):
    """Annotate with both models; the rows are valid and do not depend on the batch size."""
    annotations, dropped = annotate_with(folder, images, *models, 3)
    artifacts.write(path, "annotations", annotations)
    by_id = images.set_index("image_id")
    for item in artifacts.read(path, "annotations").itertuples():
        image = by_id.loc[item.image_id]
        assert decode(item.mask, image["height"], image["width"]).any()
        assert 0 <= item.x0 < item.x1 <= image["width"]
        assert 0 <= item.y0 < item.y1 <= image["height"]
        assert 0 < item.confidence < 1
    assert len(dropped) == 0 and annotations["image_id"].nunique() == len(images)
    unbatched, _ = annotate_with(folder, images, *models, 1)
    assert unbatched.equals(annotations)
    return annotations


def test_small_models_annotate_scenes(folder, models, tmp_path):
    annotations = check_annotations(folder, first_captions(folder), models, tmp_path / "a.parquet")
    assert annotations["description"].nunique() > 1
    grounder, segmenter = models
    image = first_captions(folder).iloc[0]
    picture = folder.image(image["file_name"])
    pairs = grounder.ground([picture], [image["caption"]])[0]
    masks, confidences = segmenter.segment(picture, [box for _, box in pairs])
    rows = annotations[annotations["image_id"] == image["image_id"]]
    assert rows["confidence"].tolist() == pytest.approx(confidences.tolist())
    areas = [decode(mask, picture.height, picture.width).sum() for mask in rows["mask"]]
    assert areas == masks.sum(axis=(1, 2)).tolist()


def test_small_models_annotate_photographs(models, tmp_path):
    root = os.environ.get("HEADIMPACT_COCO")
    if not root:
        pytest.skip("HEADIMPACT_COCO names no folder of photographs in COCO's layout")
    folder = CocoFolder(root, "val2017")
    check_annotations(folder, first_captions(folder).head(10), models, tmp_path / "a.parquet")


def test_checkpoints_are_loaded_from_their_folders(folder, models, checkpoints_folder):
    images = first_captions(folder)
    paths = [str(checkpoints_folder / name) for name in ("florence2", "sam2")]
    tables = annotate(folder, images, *paths, device="cpu", batch=3)
    for table, expected in zip(tables, annotate_with(folder, images, *models, 3), strict=True):
        assert table.equals(expected)


def test_some_masks_of_the_small_models_lie_below_the_threshold(folder, models):
    annotations, _ = annotate_with(folder, first_captions(folder), *models, 4)
    assert 0.5 < (annotations["confidence"] >= 0.85).mean() < 1

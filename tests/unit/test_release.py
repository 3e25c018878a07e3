"""The layout of the authors' release: reading it, incomplete entries, and writing it."""

import copy
import json
import os
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import scipy.sparse
from PIL import Image

from headimpact.annotate.release import annotate
from headimpact.dataset.coco import CocoFolder
from headimpact.dataset.masks import decode, encode
from headimpact.dataset.release import Release, write
from headimpact.guards import UserError

WIDTH, HEIGHT = 40, 30


def make_sample(number, boxes, masks=None, scores=None):
    """A sample of the release; masks and scores as the authors nest them."""
    names = [[f"e{number}o{k}m0.npz"] for k in range(boxes)]
    return {
        "image_id": 100 + number,
        "annotation_id": 900 + number,
        "annotation_full_text": f"Caption {number}. ",
        "image_file_name": f"{number:012d}.jpg",
        "image_coco_url": f"http://images.cocodataset.org/val2017/{number:012d}.jpg",
        "grounding": {
            "bboxes": [[1.5, 2.5, 20.25, 10.0 + k] for k in range(boxes)],
            "labels": [f"a thing {k % 2}" for k in range(boxes)],
            "masks_scores": [[0.5 + k / 8] for k in range(boxes)] if scores is None else scores,
            "masks_file_name": names if masks is None else masks,
        },
    }


def rectangle(k):
    mask = np.zeros((HEIGHT, WIDTH))
    mask[2 : 10 + k, 1:20] = 1
    return mask


@pytest.fixture
def published(tmp_path):
    """A release in which, as in the real one, an image has no box and another has no mask."""
    samples = [
        make_sample(0, 3),
        make_sample(1, 0),
        make_sample(2, 4, masks=[], scores=[]),
        make_sample(3, 1),
    ]
    (tmp_path / "masks").mkdir()
    for number, boxes in ((0, 3), (3, 1)):
        for k in range(boxes):
            path = tmp_path / "masks" / f"e{number}o{k}m0.npz"
            scipy.sparse.save_npz(path, scipy.sparse.csr_matrix(rectangle(k)))
    (tmp_path / "dataset_masks.json").write_text(json.dumps(samples))
    return tmp_path, samples


@pytest.fixture
def photographs(tmp_path):
    folder = tmp_path / "photographs/val2017"
    folder.mkdir(parents=True)
    for number in range(4):
        Image.new("RGB", (WIDTH, HEIGHT)).save(folder / f"{number:012d}.jpg")
    return CocoFolder(folder.parent, "val2017")


def table_of_images(folder):
    """A table of kind "images" with all images of a release."""
    sizes = {"width": WIDTH, "height": HEIGHT, "annotator": "release"}
    return Release(folder).samples().assign(**sizes)


def test_samples_and_objects_are_read_from_the_file(published):
    release = Release(published[0])
    release.check()
    samples = release.samples()
    assert samples["image_id"].tolist() == [100, 101, 102, 103]
    assert samples["caption"][0] == "Caption 0. "
    objects = release.objects()
    assert objects["image_id"].tolist() == [100] * 3 + [102] * 4 + [103]
    assert objects["confidence"][:3].tolist() == [0.5, 0.625, 0.75]
    assert objects.loc[2, ["x0", "y0", "x1", "y1"]].tolist() == [1.5, 2.5, 20.25, 12.0]
    bare = objects[objects["image_id"] == 102]
    assert bare["mask"].isna().all() and bare["confidence"].isna().all()


def rewrite(root, samples):
    (root / "dataset_masks.json").write_text(json.dumps(samples))


def test_ids_may_be_0_and_coordinates_may_be_whole_numbers(published):
    root, samples = published
    samples[0]["image_id"] = samples[0]["annotation_id"] = 0
    samples[0]["grounding"]["bboxes"][0] = [1, 2, 20, 10]
    rewrite(root, samples)
    assert Release(root).samples().loc[0, ["image_id", "caption_id"]].tolist() == [0, 0]
    assert Release(root).objects().loc[0, ["image_id", "x0", "y1"]].tolist() == [0, 1, 10]


def test_incomplete_entries_are_left_out_and_nothing_is_filtered(published, photographs):
    annotations, dropped = annotate(photographs, table_of_images(published[0]), published[0])
    assert dropped["reason"].value_counts().to_dict() == {"box without a mask": 4, "no box": 1}
    assert dropped["image_id"].tolist() == [101] + [102] * 4
    assert annotations["confidence"].tolist() == [0.5, 0.625, 0.75, 0.5]
    assert annotations["description"].tolist() == [f"a thing {k}" for k in (0, 1, 0, 0)]
    for k, counts in enumerate(annotations["mask"][:3]):
        assert (decode(counts, HEIGHT, WIDTH) == rectangle(k)).all()
    edges = annotations.loc[2, ["x0", "y0", "x1", "y1"]]
    assert edges.tolist() == published[1][0]["grounding"]["bboxes"][2]


MASK, SCORE = "e2o0m0.npz", 0.9


@pytest.mark.parametrize(
    ("masks", "scores", "has_mask"),
    [
        ([], [], False),
        ([[], [], [], []], [[], [], [], []], False),
        ([[MASK]], [], False),
        ([], [[SCORE]], False),
        ([[MASK]], [[SCORE]], True),
        ([MASK], [SCORE], True),
        ([[MASK, "e2o0m1.npz"]], [[SCORE, 0.8]], True),
    ],
)
def test_every_form_of_a_missing_mask_is_read_as_missing(published, masks, scores, has_mask):
    root, samples = published
    samples[2]["grounding"]["masks_file_name"] = masks
    samples[2]["grounding"]["masks_scores"] = scores
    rewrite(root, samples)
    objects = Release(root).objects()
    objects = objects[objects["image_id"] == 102]
    assert objects["mask"].tolist()[: int(has_mask)] == [MASK] * has_mask
    assert objects["confidence"].tolist()[: int(has_mask)] == [SCORE] * has_mask
    assert objects["mask"].isna().tolist() == [not has_mask, True, True, True]
    assert objects["confidence"].isna().tolist() == [not has_mask, True, True, True]


@pytest.mark.parametrize(
    "change", [lambda part: part.clear(), lambda part: part.update(dict.fromkeys(part))]
)
def test_an_image_without_a_box_may_have_an_empty_grounding(published, photographs, change):
    root, samples = published
    change(samples[1]["grounding"])
    for key in ("masks_scores", "masks_file_name"):
        samples[2]["grounding"].pop(key)
    rewrite(root, samples)
    _, dropped = annotate(photographs, table_of_images(root), root)
    assert dropped["reason"].value_counts().to_dict() == {"box without a mask": 4, "no box": 1}


def test_a_mask_of_another_size_is_left_out(published, photographs):
    taller = scipy.sparse.csr_matrix(np.ones((HEIGHT + 1, WIDTH)))
    scipy.sparse.save_npz(published[0] / "masks/e3o0m0.npz", taller)
    annotations, dropped = annotate(photographs, table_of_images(published[0]), published[0])
    assert dropped["reason"].tolist()[-1] == "mask of another size than its image"
    assert set(annotations["image_id"]) == {100}


def test_a_damaged_photograph_is_left_out(published, photographs):
    truncated, resized = (photographs.root / f"val2017/{number:012d}.jpg" for number in (0, 3))
    truncated.write_bytes(truncated.read_bytes()[:300])
    Image.new("RGB", (WIDTH + 1, HEIGHT)).save(resized)
    annotations, dropped = annotate(photographs, table_of_images(published[0]), published[0])
    assert len(annotations) == 0
    assert dropped["reason"].str.split(":").str[0].tolist() == [
        *("damaged image", "no box", *["box without a mask"] * 4),
        "size differs from the annotation file",
    ]


def with_content(content, name):
    def change(path):
        path.write_bytes(content(path.read_bytes()))

    change.__name__ = name
    return change


def indices_outside(path):
    """Indices that lie outside the matrix, which scipy does not check when it loads the file."""
    matrix = scipy.sparse.csr_matrix(rectangle(0))
    indices = matrix.indices.copy()
    indices[-1] = 10**6
    arrays = {"data": matrix.data, "indices": indices, "indptr": matrix.indptr}
    np.savez(path, format=b"csr", shape=np.array(matrix.shape), **arrays)


def huge_shape(path):
    """A small file with a matrix that does not fit into memory."""
    arrays = {"data": np.ones(1), "indices": np.zeros(1, int), "indptr": np.array([0, 1])}
    np.savez(path, format=b"csr", shape=np.array([1, 1 << 50]), **arrays)


def coordinate_format(path):
    scipy.sparse.save_npz(path, scipy.sparse.coo_matrix(rectangle(0)))


def pickled_shape(path):
    np.savez(path, format=b"csr", shape=np.array([{"a": 1}], dtype=object), data=np.ones(1))


@pytest.mark.parametrize(
    "damage",
    [
        with_content(lambda content: content[:200], "truncated"),
        with_content(lambda content: b"", "empty"),
        with_content(lambda content: b"<html>not found</html>", "another file"),
        indices_outside,
        huge_shape,
        coordinate_format,
        pickled_shape,
        Path.unlink,
    ],
)
def test_a_damaged_mask_is_reported_with_its_file(published, photographs, damage):
    path = published[0] / "masks/e0o1m0.npz"
    damage(path)
    with pytest.raises(UserError) as error:
        annotate(photographs, table_of_images(published[0]), published[0])
    assert str(error.value).startswith(f"{path}: ")


def test_no_flipped_byte_alters_a_mask_unnoticed(published):
    """Some bytes, such as the time of modification, do not matter."""
    path = published[0] / "masks/e0o1m0.npz"
    content = path.read_bytes()
    for i in range(0, len(content), 3):
        path.write_bytes(content[:i] + bytes([content[i] ^ 0xFF]) + content[i + 1 :])
        try:
            mask = Release(published[0]).mask(path.name)
        except UserError as error:
            assert str(error).startswith(f"{path}: ")
        else:
            assert (mask == rectangle(1)).all()


def set_value(*keys, value):
    """A function that sets a value of the first sample, given by the path of its keys."""

    def change(samples):
        parent = samples[0]
        for key in keys[:-1]:
            parent = parent[key]
        parent[keys[-1]] = value

    change.__name__ = repr(value)
    return change


def each(fault, *keys, values):
    return [(fault, set_value(*keys, value=value)) for value in values]


G = "grounding"
FAULTS = [
    *each("image_id is no int", "image_id", values=["7", True, 7.0, None]),
    *each("an id below 0", "image_id", values=[-1, 1 << 63]),
    *each("an id below 0", "annotation_id", values=[-1, 1 << 63]),
    *each("annotation_full_text is no str", "annotation_full_text", values=[None]),
    *each("annotation_full_text", "annotation_full_text", values=["a \ud800"]),
    *each("image_file_name", "image_file_name", values=[7, "\ud800.jpg"]),
    *each("grounding is no dict", G, values=[[]]),
    *each("grounding.bboxes is no list", G, "bboxes", values=[{}]),
    *each("grounding.labels is no list", G, "labels", values=[{}]),
    *each("grounding.masks_scores is no list", G, "masks_scores", values=[{}]),
    *each("grounding.masks_file_name is no list", G, "masks_file_name", values=[{}]),
    *each("3 bboxes for 0 labels", G, "labels", values=[None]),
    *each("2 bboxes for 3 labels", G, "bboxes", values=[[[0, 0, 1, 1]] * 2]),
    *each("a box is not four numbers", G, "bboxes", 0, values=[[0, 0, 1], [0] * 5, None]),
    *each("a box is not four numbers", G, "bboxes", 0, 3, values=["1", True, np.nan, 10**30]),
    *each("a label is no text", G, "labels", 0, values=[3]),
    *each("label", G, "labels", 0, values=["\ud800"]),
    *each("is not the name", G, "masks_file_name", 0, values=[["../../x.npz"], ["/x"], ["a/"]]),
    *each("is not the name", G, "masks_file_name", 0, values=[[""], ["."], [".."], [7], None]),
    *each(
        "is not the name",
        G,
        "masks_file_name",
        0,
        values=[["a\\b.npz"], ["a\0.npz"], ["\n"], ["\ud800"]],
    ),
    *each("'../x.jpg': not the name of a file", "image_file_name", values=["../x.jpg"]),
    *each(
        "not the name of a file",
        "image_file_name",
        values=["/x.jpg", "a\\b.jpg", "a\0", "", "a\nb"],
    ),
    *each("score is no number", G, "masks_scores", 0, values=[["high"], [np.inf], [True], [[0.9]]]),
]


@pytest.mark.parametrize(("fault", "change"), FAULTS)
def test_a_malformed_sample_is_reported_with_its_number_and_key(published, fault, change):
    root, samples = published
    changed = copy.deepcopy(samples)
    change(changed)
    rewrite(root, changed)
    for read in (Release(root).samples, Release(root).objects):
        with pytest.raises(UserError, match=r"dataset_masks\.json: sample 0: ") as error:
            read()
        assert fault in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("content", [None, b"", b"{", b"{}", b"[1]", b"\xff\xfe", b"[" * 100000])
def test_a_file_without_a_list_of_samples_is_refused(published, content):
    file = published[0] / "dataset_masks.json"
    file.unlink()
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(UserError, match=r"dataset_masks\.json: "):
        Release(published[0]).samples()


@pytest.mark.parametrize("missing", ["dataset_masks.json", "masks"])
def test_a_release_without_its_file_or_masks_is_refused(published, missing):
    (published[0] / missing).rename(published[0] / "renamed")
    with pytest.raises(UserError, match=r"^annotator\.release: .*dataset_masks\.json"):
        Release(published[0]).check()


def form(value):
    """The keys and types of nested JSON; of a list those of its first entry."""
    if isinstance(value, dict):
        return {key: form(entry) for key, entry in value.items()}
    if isinstance(value, list):
        return [form(value[0])] if value else []
    return type(value).__name__


def test_a_written_release_is_read_back(tmp_path, photographs):
    images = pd.DataFrame(
        {"image_id": [5, 6], "file_name": ["a.jpg", "b.jpg"], "width": WIDTH, "height": HEIGHT}
        | {"caption_id": [50, 60], "caption": ["One", "Two"], "annotator": "florence2_sam2"}
    )
    box = {"x0": 0.25, "y0": 1.0, "x1": 20.5, "y1": 9.0}
    annotations = pd.DataFrame(
        {"image_id": 5 + k // 2, "description": f"a {k}", **box, "mask": encode(rectangle(k) > 0)}
        | {"confidence": 0.5 + k / 8}
        for k in range(3)
    )
    write(tmp_path / "ours", images, annotations, "http://images.cocodataset.org/val2017")
    release = Release(tmp_path / "ours")
    release.check()
    assert release.samples()[["image_id", "caption_id", "caption"]].to_numpy().tolist() == [
        [5, 50, "One"],
        [6, 60, "Two"],
    ]
    objects = release.objects()
    assert objects["image_id"].tolist() == [5, 5, 6]
    assert objects["mask"].tolist() == ["e0o0m0.npz", "e0o1m0.npz", "e1o0m0.npz"]
    columns = ["description", "x0", "y0", "x1", "y1", "confidence"]
    pd.testing.assert_frame_equal(objects[columns], annotations[columns])
    for k, name in enumerate(objects["mask"]):
        assert release.mask(name).dtype == bool and (release.mask(name) == rectangle(k)).all()
        matrix = scipy.sparse.load_npz(tmp_path / "ours/masks" / name)
        assert (matrix.format, matrix.dtype) == ("csr", np.float64)
    content = json.loads((tmp_path / "ours/dataset_masks.json").read_text())
    assert form(content) == form([make_sample(0, 3)])
    assert content[0]["image_file_name"] == "a.jpg"
    assert content[0]["image_coco_url"] == "http://images.cocodataset.org/val2017/a.jpg"


def real_release():
    root = os.environ.get("HEADIMPACT_RELEASE")
    if not root:
        pytest.skip("HEADIMPACT_RELEASE names no folder with the authors' release")
    return Path(root)


def test_every_sample_and_mask_of_the_real_release_is_read():
    root = real_release()
    release = Release(root)
    release.check()
    content = json.loads((root / "dataset_masks.json").read_text())
    assert len(release.samples()) == len(content)
    objects = release.objects()
    assert len(objects) == sum(len(sample["grounding"]["bboxes"]) for sample in content)
    for name in objects["mask"].dropna():
        mask = release.mask(name)
        assert mask.dtype == bool and mask.ndim == 2


def test_a_written_release_has_the_form_of_the_real_one(tmp_path):
    root, coco = real_release(), os.environ.get("HEADIMPACT_COCO")
    if not coco:
        pytest.skip("HEADIMPACT_COCO names no folder of photographs in COCO's layout")
    folder = CocoFolder(coco, "val2017")
    sizes = folder.captions().drop_duplicates("image_id")[["image_id", "width", "height"]]
    images = Release(root).samples().merge(sizes, on="image_id").assign(annotator="release")
    annotations, dropped = annotate(folder, images, root)
    assert len(images) and len(annotations) + len(dropped) >= len(images)
    write(tmp_path / "ours", images, annotations, "http://images.cocodataset.org/val2017")
    ours = json.loads((tmp_path / "ours/dataset_masks.json").read_text())
    theirs = json.loads((root / "dataset_masks.json").read_text())
    assert form(ours) == form(theirs)
    # Without incomplete entries, everything but the names of the files is written exactly.
    grounding_of = {sample["image_id"]: sample["grounding"] for sample in theirs}
    for sample in ours:
        grounding, expected = sample["grounding"], grounding_of[sample["image_id"]]
        for key in ("bboxes", "labels", "masks_scores"):
            assert grounding[key] == expected[key]
        names = zip(grounding["masks_file_name"], expected["masks_file_name"], strict=True)
        for (our_name,), (their_name,) in names:
            our_mask = scipy.sparse.load_npz(tmp_path / "ours/masks" / our_name)
            their_mask = scipy.sparse.load_npz(root / "masks" / their_name)
            assert (our_mask != their_mask).nnz == 0
            assert our_mask.dtype.kind == their_mask.dtype.kind == "f"
            assert type(our_mask) is type(their_mask) and our_mask.shape == their_mask.shape

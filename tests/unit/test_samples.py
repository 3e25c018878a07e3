"""Samples from small tables: which images and objects are chosen, and how drops are counted."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headimpact.dataset.masks import encode
from headimpact.dataset.samples import (
    count_outcomes,
    draw_images,
    draw_study,
    make_samples,
    split_sizes,
)
from headimpact.guards import UserError
from headimpact.table_kinds import SPLITS

ALL = dict.fromkeys(SPLITS)
PAPER = {"impact": 1000, "train": 1200, "validation": 300, "test": 500}


def tables(count, areas=(1,)):
    """`count` images of 6 x 4 pixels, each with a mask of every one of these areas."""
    captions = pd.DataFrame(
        {"image_id": i, "file_name": f"{i}.png", "width": 6, "height": 4}
        | {"caption_id": i, "caption": "a"}
        for i in range(count)
    )
    images = draw_images(captions, count, 0).assign(annotator="instances", sha256="")
    boxes = dict.fromkeys(("x0", "y0", "x1", "y1"), 0.0)
    annotations = pd.DataFrame(
        {"image_id": i, "description": f"{number}", **boxes, "confidence": 1.0}
        | {"mask": encode(np.arange(24).reshape(4, 6) < area)}
        for i in images["image_id"]
        for number, area in enumerate(areas)
    )
    return images, annotations, pd.DataFrame(columns=["image_id", "file_name", "reason"])


def make(images, annotations, dropped, count=4, limits=ALL, order="annotation", seed=0):
    sizes = split_sizes(count, dict.fromkeys(SPLITS, 1))
    annotators = dict.fromkeys(SPLITS, "instances")
    return make_samples(images, annotations, dropped, sizes, annotators, 0.85, limits, order, seed)


def test_a_mask_without_a_confidence_is_left_out():
    images, annotations, dropped = tables(5)
    annotations.loc[0, "confidence"] = np.nan
    annotations.loc[1, "confidence"] = 0.85
    samples, _, all_dropped = make(images, annotations, dropped)
    assert all_dropped["reason"].tolist() == ["confidence below 0.85", "no key object"]
    assert all_dropped["file_name"].tolist() == [images["file_name"][0]] * 2
    assert samples["image_id"].tolist() == images["image_id"].tolist()[1:]


def test_too_few_images_are_reported_with_the_reasons():
    images, annotations, _ = tables(5)
    damaged = images.head(3)
    dropped = damaged[["image_id", "file_name"]].assign(
        reason=[f"damaged image: {name} is truncated" for name in damaged["file_name"]]
    )
    annotations = annotations[~annotations["image_id"].isin(damaged["image_id"])]
    with pytest.raises(ValueError, match=r"2 of 5 drawn remain \(3 damaged image\); .*spare"):
        make(images, annotations, dropped)


def test_too_few_images_are_reported_even_if_none_were_left_out():
    with pytest.raises(ValueError, match="4 images are wanted, 3 of 3"):
        make(*tables(3))


@pytest.mark.parametrize(
    "reason", ["damaged image: it is truncated", "size differs from the annotation file", "no box"]
)
def test_no_object_of_a_dropped_image_is_used(reason):
    images, annotations, _ = tables(5)
    dropped = images.head(1)[["image_id", "file_name"]].assign(reason=reason)
    samples, _, all_dropped = make(images, annotations, dropped)
    assert samples["image_id"].tolist() == images["image_id"].tolist()[1:]
    assert all_dropped["reason"].tolist() == [reason]


def test_objects_of_equal_area_stay_in_their_order():
    _, objects, _ = make(*tables(4, areas=(2, 5) * 10), order="area")
    order = [*range(1, 20, 2), *range(0, 20, 2)]
    assert objects["description"].tolist() == [str(number) for number in order] * 4


@pytest.mark.parametrize("order", ["area", "random", "annotation"])
def test_each_split_has_its_own_limit_of_objects(order):
    limits = dict(zip(SPLITS, (None, 1, 2, 3), strict=True))
    samples, objects, _ = make(*tables(4, areas=(3, 2, 1)), limits=limits, order=order)
    split = objects["sample_id"].map(samples.set_index("sample_id")["split"])
    assert split.value_counts(sort=False).to_dict() == dict(zip(SPLITS, (3, 1, 2, 3), strict=True))


def test_a_random_choice_depends_on_the_seed():
    chosen = [
        make(*tables(4, areas=range(1, 9)), order="random", seed=seed)[1]["description"].tolist()
        for seed in (0, 0, 1)
    ]
    assert chosen[0] == chosen[1] != chosen[2]


def test_the_random_choice_of_an_image_does_not_depend_on_other_images():
    """An earlier image that is left out changes nothing; two images have different choices."""
    images, annotations, dropped = tables(6, areas=range(1, 9))
    without_first = annotations[annotations["image_id"] != images["image_id"][0]]
    chosen = []
    for table in (annotations, without_first):
        samples, objects, _ = make(images, table, dropped, order="random")
        image = objects["sample_id"].map(samples.set_index("sample_id")["image_id"])
        chosen.append(objects.groupby(image)["description"].agg(list).to_dict())
    common = chosen[0].keys() & chosen[1].keys()
    assert len(common) == 3 and all(chosen[0][image] == chosen[1][image] for image in common)
    assert len({tuple(order) for order in chosen[0].values()}) > 1


def test_any_caption_of_an_image_may_be_drawn():
    captions = pd.DataFrame(
        {"image_id": i // 5, "file_name": "x", "width": 1, "height": 1}
        | {"caption_id": i, "caption": "a"}
        for i in range(200)
    )
    assert set(draw_images(captions, 40, 0)["caption_id"] % 5) == set(range(5))


def captions(ids):
    return pd.DataFrame(
        {"image_id": i, "file_name": f"{i}.png", "width": 6, "height": 4}
        | {"caption_id": i, "caption": "a"}
        for i in ids
    )


MIXED = {"impact": "release", **dict.fromkeys(SPLITS[1:], "florence2_sam2")}
SIZES = dict(zip(SPLITS, (5, 4, 2, 3), strict=True))


def test_no_image_of_the_release_is_drawn_for_another_split():
    pools = {"release": captions(range(8)), "florence2_sam2": captions(range(18))}
    images = draw_study(pools, SIZES, MIXED, 0.0, 3)
    assert images["annotator"].tolist() == ["release"] * 5 + ["florence2_sam2"] * 9
    assert images["image_id"].is_unique
    # Nor is an image of the release that the impact split did not need.
    assert not set(images["image_id"][5:]) & set(range(8))
    with pytest.raises(ValueError, match="9 are wanted for florence2_sam2, the dataset has 8"):
        draw_study({**pools, "florence2_sam2": captions(range(16))}, SIZES, MIXED, 0.0, 3)


def test_a_release_with_too_few_images_is_refused():
    pools = {"release": captions(range(4)), "florence2_sam2": captions(range(18))}
    with pytest.raises(ValueError, match="5 are wanted for release, the release has 4 for it"):
        draw_study(pools, SIZES, MIXED, 0.0, 3)


def test_spare_images_are_drawn_as_far_as_there_are_any():
    by = dict.fromkeys(SPLITS, "instances")
    assert len(draw_study({"instances": captions(range(99))}, SIZES, by, 0.5, 0)) == 21
    assert len(draw_study({"instances": captions(range(99))}, SIZES, by, 0.1, 0)) == 16
    assert len(draw_study({"instances": captions(range(17))}, SIZES, by, 0.5, 0)) == 17
    first = draw_study({"instances": captions(range(99))}, SIZES, by, 0.0, 0)
    pd.testing.assert_frame_equal(
        draw_study({"instances": captions(range(99))}, SIZES, by, 0.5, 0).head(14), first
    )


def test_the_images_of_a_study_depend_on_its_seed():
    by = dict.fromkeys(SPLITS, "instances")
    drawn = [
        draw_study({"instances": captions(range(99))}, SIZES, by, 0.0, seed)["image_id"].tolist()
        for seed in (0, 0, 1)
    ]
    assert drawn[0] == drawn[1] != drawn[2]


def mixed(released, first_empty, last_empty=0, sizes=None, annotators=MIXED, spare=0.5):
    """Tables of a study with both annotators, on a release of `released` images.

    The first `first_empty` and the last `last_empty` images of the draw have no object.
    """
    pools = {"release": captions(range(released)), "florence2_sam2": captions(range(999))}
    sizes = sizes or {**SIZES, "impact": released}
    images = draw_study(pools, sizes, annotators, spare, 0).assign(sha256="")
    empty = {*images["image_id"].head(first_empty), *images["image_id"].tail(last_empty)}
    mask = encode(np.ones((4, 6), bool))
    boxes = dict.fromkeys(("x0", "y0", "x1", "y1"), 0.0)
    annotations = pd.DataFrame(
        {"image_id": i, "description": "a", **boxes, "mask": mask, "confidence": 1.0}
        for i in images["image_id"]
        if i not in empty
    )
    dropped = pd.DataFrame(columns=["image_id", "file_name", "reason"])
    tables = make_samples(
        images, annotations, dropped, sizes, annotators, 0.85, ALL, "annotation", seed=0
    )
    return images, annotations, tables


def test_a_split_of_the_release_may_be_smaller_than_its_size():
    images, annotations, (samples, objects, dropped) = mixed(6, 2)
    assert samples["split"].value_counts(sort=False).to_dict() == {
        **SIZES,
        "impact": 4,
    }
    by = samples.merge(images[["image_id", "annotator"]], on="image_id")
    assert (by["annotator"] == by["split"].map(MIXED)).all()
    assert samples["sample_id"].tolist() == list(range(13))
    counts = count_outcomes(images, annotations, dropped, samples, objects)
    outcomes = counts.set_index(["annotator", "unit", "outcome"])["count"]
    assert outcomes["release", "image"].to_dict() == {
        **{"drawn": 6, "left out: no key object": 2, "not needed": 0, "in the study": 4}
    }
    assert outcomes["release", "object"].to_dict() == {
        "found": 4,
        "not needed": 0,
        "in the study": 4,
    }
    assert outcomes["florence2_sam2", "image"].to_dict() == {
        **{"drawn": 14, "not needed": 5, "in the study": 9}
    }


def test_the_counts_of_the_outcomes_add_up():
    images, annotations, _ = tables(8, areas=(3, 2, 1))
    annotations.loc[annotations.index[:4], "confidence"] = 0.1
    annotations.loc[annotations.index[4], "mask"] = encode(np.zeros((4, 6), bool))
    rows = images[["image_id", "file_name"]]
    damaged = rows.iloc[[7]].assign(reason="damaged image: truncated")
    crowd = rows.iloc[[3, 3, 4]].assign(reason="crowd region")
    annotations = annotations[annotations["image_id"] != rows["image_id"][7]]
    dropped = pd.concat([damaged, crowd], ignore_index=True)
    limits = {**dict.fromkeys(SPLITS, 1), "train": 2}
    samples, objects, all_dropped = make(images, annotations, dropped, limits=limits)
    # An image that loses an object stays if it has others.
    assert samples["image_id"].tolist() == images["image_id"].tolist()[1:5]
    counts = count_outcomes(images, annotations, all_dropped, samples, objects)
    outcomes = counts.set_index(["unit", "outcome"])["count"]
    assert outcomes["image"].to_dict() == {
        **{"drawn": 8, "left out: damaged image": 1, "left out: no key object": 1},
        **{"not needed": 2, "in the study": 4},
    }
    assert list(outcomes["object"].items()) == [
        ("found", 24),
        *(("left out: confidence below 0.85", 4), ("left out: crowd region", 3)),
        *(("left out: empty mask", 1), ("not needed", 11), ("in the study", 5)),
    ]


def test_a_release_without_a_key_object_is_refused():
    with pytest.raises(ValueError, match=r"0 of 3 drawn remain \(3 no key object\)"):
        mixed(3, 3, last_empty=1)


def test_only_a_split_that_alone_uses_the_release_may_be_smaller():
    by = {**MIXED, "validation": "release"}
    with pytest.raises(ValueError, match="7 images are wanted, 4 of 7 drawn remain"):
        mixed(7, 3, sizes=SIZES, annotators=by)
    by = {"impact": "florence2_sam2", **dict.fromkeys(SPLITS[1:], "release")}
    with pytest.raises(ValueError, match="5 images are wanted, 4 of 5 drawn remain"):
        mixed(9, 0, 1, SIZES, by, spare=0.0)


def test_samples_are_in_the_order_of_the_splits_for_any_annotators():
    by = dict(zip(SPLITS, ("release", "florence2_sam2") * 2, strict=True))
    images, _, (samples, _, _) = mixed(60, 0, sizes=dict.fromkeys(SPLITS, 30), annotators=by)
    assert samples["split"].tolist() == [split for split in SPLITS for _ in range(30)]
    drawn = images["image_id"].tolist()
    order = [*range(30), *range(60, 90), *range(30, 60), *range(90, 120)]
    assert samples["image_id"].tolist() == [drawn[index] for index in order]


@given(st.integers(10, 5000))
def test_split_sizes_sum_to_the_images_and_follow_the_proportions(images):
    sizes = split_sizes(images, PAPER)
    assert sum(sizes.values()) == images
    assert all(abs(sizes[split] - images * PAPER[split] / 3000) < 1 for split in PAPER)


def test_the_papers_sizes_are_reproduced_and_too_few_images_are_refused():
    assert split_sizes(3000, PAPER) == PAPER
    with pytest.raises(UserError, match=r"sampling\.images"):
        split_sizes(3, PAPER)

"""Masks as COCO RLE: encoding, decoding, and malformed segmentations."""

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headimpact.dataset.masks import decode, encode, from_segmentation
from headimpact.guards import UserError

MASKS = hnp.arrays(bool, st.tuples(st.integers(1, 30), st.integers(1, 30)))


@given(MASKS)
def test_decoding_an_encoded_mask_gives_the_mask(mask):
    assert (decode(encode(mask), *mask.shape) == mask).all()


@given(st.text(max_size=30), st.integers(1, 20), st.integers(1, 20))
def test_any_text_is_decoded_to_the_right_size_or_refused(counts, height, width):
    with contextlib.suppress(UserError):
        assert decode(counts, height, width).shape == (height, width)


@given(MASKS)
def test_a_mask_of_another_size_is_refused(mask):
    with pytest.raises(UserError, match="does not fill"):
        decode(encode(mask), mask.shape[0], mask.shape[1] + 1)


def test_polygons_plain_runs_and_compressed_runs_agree():
    mask = np.zeros((6, 8), bool)
    mask[1:4, 2:5] = True
    runs, value, count = [], False, 0
    for pixel in mask.T.ravel():
        if pixel == value:
            count += 1
        else:
            runs.append(count)
            value, count = pixel, 1
    runs.append(count)
    square = [[2, 1, 5, 1, 5, 4, 2, 4]]
    for segmentation in (
        square,
        {"size": [6, 8], "counts": runs},
        {"size": [6, 8], "counts": encode(mask)},
    ):
        assert (decode(from_segmentation(segmentation, 6, 8), 6, 8) == mask).all()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["size", "counts"]), inner, max_size=2)
    ),
)


@given(JSON)
def test_an_arbitrary_segmentation_is_read_or_refused(segmentation):
    with contextlib.suppress(UserError):
        from_segmentation(segmentation, 5, 7)


@pytest.mark.parametrize(
    "segmentation",
    [
        *({"size": [5, 7], "counts": counts} for counts in (None, 5, ["a"], [None], [[35]], b"x")),
        {"size": [5, 7], "counts": [35.0]},
        {"size": [5, 7]},
        *([[value] * 6] for value in ("1", None, {}, True, float("nan"), 10**400)),
        # pycocotools crashed at these or used up all memory.
        *([[0, 0, far, 0, far, far]] for far in (1e8, -1e18, float("inf"))),
    ],
    ids=str,
)
def test_runs_and_coordinates_must_be_numbers_close_to_the_image(segmentation):
    with pytest.raises(UserError):
        from_segmentation(segmentation, 5, 7)


@pytest.mark.parametrize("counts", ["S1P", "\x131", "S1\n"])
def test_malformed_counts_that_pycocotools_accepts_are_refused(counts):
    assert not decode("S1", 5, 7).any()
    with pytest.raises(UserError, match="RLE"):
        decode(counts, 5, 7)


def test_a_polygon_with_an_odd_number_of_coordinates_is_refused():
    with pytest.raises(UserError, match="polygon"):
        from_segmentation([[0, 0, 5, 0, 5, 5, 1]], 5, 7)

import contextlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from headimpact.dataset.masks import decode, encode, from_segmentation

MASKS = hnp.arrays(bool, st.tuples(st.integers(1, 30), st.integers(1, 30)))


@given(MASKS)
def test_there_and_back(mask):
    assert (decode(encode(mask), *mask.shape) == mask).all()


@given(st.text(max_size=30), st.integers(1, 20), st.integers(1, 20))
def test_any_text_is_a_mask_of_that_size_or_refused(counts, height, width):
    with contextlib.suppress(ValueError):
        assert decode(counts, height, width).shape == (height, width)


@given(MASKS)
def test_another_size_is_refused(mask):
    with pytest.raises(ValueError, match="does not fill"):
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
def test_odd_segmentations_are_refused(segmentation):
    with contextlib.suppress(ValueError):
        from_segmentation(segmentation, 5, 7)


@pytest.mark.parametrize(
    "segmentation",
    [
        *({"size": [5, 7], "counts": counts} for counts in (None, 5, ["a"], [None], [[35]], b"x")),
        {"size": [5, 7], "counts": [35.0]},
        {"size": [5, 7]},
        *([[value] * 6] for value in ("1", None, {}, True, float("nan"), 10**400)),
        # these ended the process or took all of its memory
        *([[0, 0, far, 0, far, far]] for far in (1e8, -1e18, float("inf"))),
    ],
    ids=str,
)
def test_runs_and_corners_that_are_no_numbers_or_far_away_are_refused(segmentation):
    with pytest.raises(ValueError):
        from_segmentation(segmentation, 5, 7)


@pytest.mark.parametrize("counts", ["S1P", "\x131", "S1\n"])
def test_counts_that_a_lenient_reader_would_take_are_refused(counts):
    assert not decode("S1", 5, 7).any()
    with pytest.raises(ValueError, match="RLE"):
        decode(counts, 5, 7)


def test_a_polygon_has_whole_pairs():
    with pytest.raises(ValueError, match="pairs"):
        from_segmentation([[0, 0, 5, 0, 5, 5, 1]], 5, 7)

"""Clustered errors, perplexity, and the Kruskal-Wallis test with its bootstrap interval."""

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from headimpact.statistics import (
    _kruskal_statistics,
    clustered_error,
    kruskal,
    kruskal_interval,
    perplexity,
)

VALUES = st.lists(st.floats(-100, 100), min_size=2, max_size=30)


@given(VALUES)
def test_clusters_of_one_value_give_the_usual_standard_error(values):
    expected = np.std(values, ddof=1) / np.sqrt(len(values))
    assert clustered_error(values, range(len(values))) == pytest.approx(expected, abs=1e-9)


@given(VALUES, st.integers(2, 5))
def test_repeated_values_in_a_cluster_do_not_change_the_error(values, times):
    once = clustered_error(values, range(len(values)))
    repeated = clustered_error(np.repeat(values, times), np.repeat(range(len(values)), times))
    assert repeated == pytest.approx(once, abs=1e-9)


def test_the_clustered_error_matches_a_calculation_by_hand():
    # The mean is 2, and the residual sums of the clusters are (1-2)+(1-2) = -2, (2-2)+(4-2) = 2
    assert clustered_error([1, 1, 2, 4], [0, 0, 1, 1]) == pytest.approx(np.sqrt(8 * 2) / 4)


def test_one_cluster_has_no_error():
    assert np.isnan(clustered_error([1.0, 2.0], [7, 7]))
    # Here rounding errors keep the residuals from summing to 0.
    assert np.isnan(clustered_error([0.1, 0.2, 0.4], [7, 7, 7]))


def test_perplexity_matches_a_calculation_by_hand():
    # The losses per token are 1 and 3, which gives exp(2). The error of the mean is
    # sqrt(2) / sqrt(2) = 1.
    value, error = perplexity([1.0, 3.0], [0, 1])
    assert (value, error) == (pytest.approx(np.exp(2)), pytest.approx(np.exp(2)))


def test_kruskal_matches_a_calculation_by_hand():
    # layers (1, 2) and (3, 4): rank sums 3 and 7; 12/(4*5) * (9/2 + 49/2) - 3*5 = 2.4
    tests = kruskal([[1.0, 2.0], [3.0, 4.0]])
    assert tests["layers"]["statistic"] == pytest.approx(2.4)
    assert tests["layers"]["p_value"] == pytest.approx(scipy.stats.chi2.sf(2.4, 1))
    # heads (1, 3) and (2, 4): rank sums 4 and 6; 12/20 * (16/2 + 36/2) - 15 = 0.6
    assert tests["heads"]["statistic"] == pytest.approx(0.6)


@pytest.mark.filterwarnings("error")
def test_equal_values_have_no_test():
    assert np.isnan(kruskal(np.ones((3, 4)))["layers"]["p_value"])


@pytest.mark.parametrize(("shape", "groups"), [((1, 4), "layers"), ((4, 1), "heads")])
def test_a_single_group_has_no_test(shape, groups):
    test = kruskal(np.arange(4.0).reshape(shape))[groups]
    assert np.isnan(test["statistic"]) and np.isnan(test["p_value"])
    assert test["degrees_of_freedom"] == 0


def known_impact(rng, images=150, noise=0.05):
    """A Head Impact matrix (6, 5), IoU of two objects per image that average to it, and images."""
    matrix = 0.3 + 0.1 * rng.normal(size=(6, 1)) + 0.05 * rng.normal(size=(6, 5))
    ious = matrix + noise * rng.normal(size=(2 * images, 6, 5))
    return matrix, ious, np.repeat(np.arange(images), 2)


@pytest.mark.parametrize("tied", [False, True])
def test_statistics_of_many_matrices_match_scipy(tied):
    rng = np.random.default_rng(0)
    matrices = rng.integers(0, 4, (20, 7, 5)) / 3 if tied else rng.normal(size=(20, 7, 5))
    by_layers, by_heads = _kruskal_statistics(matrices)
    assert by_layers == pytest.approx([scipy.stats.kruskal(*x)[0] for x in matrices], abs=1e-9)
    assert by_heads == pytest.approx([scipy.stats.kruskal(*x.T)[0] for x in matrices], abs=1e-9)


def test_intervals_cover_the_true_statistic_as_often_as_their_level():
    rng, covered = np.random.default_rng(1), {0.95: 0, 0.5: 0}
    for _ in range(100):
        matrix, ious, images = known_impact(rng)
        truth = kruskal(matrix)["layers"]
        for level in covered:
            interval = kruskal_interval(ious, images, draws=200, level=level)["layers"]
            low, high = interval["statistic"]
            # The p-value falls as the statistic rises.
            smallest, largest = interval["p_value"]
            inside = low <= truth["statistic"] <= high
            assert inside == (smallest <= truth["p_value"] <= largest)
            covered[level] += inside
    assert covered[0.95] >= 88 and 25 <= covered[0.5] <= 75


def test_little_noise_gives_a_narrow_interval():
    matrix, ious, images = known_impact(np.random.default_rng(2), noise=1e-6)
    interval, tests = kruskal_interval(ious, images), kruskal(matrix)
    for groups in ("layers", "heads"):
        for quantity in ("statistic", "p_value"):
            assert interval[groups][quantity] == pytest.approx((tests[groups][quantity],) * 2)
        freedom = [result[groups]["degrees_of_freedom"] for result in (interval, tests)]
        assert freedom[0] == freedom[1]


def test_repeated_objects_do_not_change_an_interval():
    _, ious, images = known_impact(np.random.default_rng(3), images=40)
    once = kruskal_interval(ious, images)
    order = np.random.default_rng(4).permutation(3 * len(images))
    repeated = kruskal_interval(np.repeat(ious, 3, axis=0)[order], np.repeat(images, 3)[order])
    for groups in ("layers", "heads"):
        assert repeated[groups]["statistic"] == pytest.approx(once[groups]["statistic"])
    assert kruskal_interval(ious, np.arange(len(images))) != once


def test_an_interval_is_reproduced_by_its_seed():
    _, ious, images = known_impact(np.random.default_rng(6), images=30)
    assert kruskal_interval(ious, images, seed=3) == kruskal_interval(ious, images, seed=3)
    assert kruskal_interval(ious, images, seed=3) != kruskal_interval(ious, images, seed=4)


def test_each_draw_is_the_test_of_scipy_on_the_resampled_images():
    # Two heads are equal in every object, but a product of these shapes rounds them differently.
    ious = np.random.default_rng(0).random((20, 5, 7))
    ious[:, -1] = ious[:, 0]
    images = np.random.default_rng(0).multinomial(20, np.full(20, 1 / 20), size=150)
    tests = [kruskal(np.average(ious, axis=0, weights=counts)) for counts in images]
    intervals = kruskal_interval(ious, range(20), draws=150, level=0.9)
    for groups in ("layers", "heads"):
        for quantity in ("statistic", "p_value"):
            expected = np.quantile([test[groups][quantity] for test in tests], [0.05, 0.95])
            assert intervals[groups][quantity] == pytest.approx(expected, abs=1e-9)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("shape", "clusters", "groups"),
    [
        ((3, 1, 4), [0, 1, 2], "layers"),
        ((3, 4, 1), [0, 1, 2], "heads"),
        ((3, 2, 4), [7, 7, 7], "heads"),
    ],
)
def test_one_group_or_image_has_no_interval(shape, clusters, groups):
    ious = np.random.default_rng(0).random(shape)
    interval = kruskal_interval(ious, clusters, draws=10)[groups]
    assert np.isnan([*interval["statistic"], *interval["p_value"]]).all()
    assert interval["degrees_of_freedom"] == shape[{"layers": 1, "heads": 2}[groups]] - 1


@pytest.mark.filterwarnings("error")
def test_equal_values_have_no_interval():
    interval = kruskal_interval(np.full((3, 2, 4), 0.1), [0, 1, 2], draws=10)["layers"]
    assert np.isnan([*interval["statistic"], *interval["p_value"]]).all()

"""Paired differences with intervals over images and draws, sign flips, and Holm's correction."""

import itertools

import numpy as np
import pytest
import scipy.stats

from headimpact import paired
from headimpact.paired import holm, paired_difference, sign_flip_p


def all_flips(values, clusters):
    """The p of every sign flip of the clusters, one by one."""
    names = sorted(set(clusters))
    sums = []
    for signs in itertools.product((1, -1), repeat=len(names)):
        sign_of = dict(zip(names, signs, strict=True))
        sums.append(sum(sign_of[c] * v for c, v in zip(clusters, values, strict=True)))
    # The first product has only plus signs.
    return np.mean([abs(total) >= abs(sums[0]) - 1e-12 for total in sums])


CLUSTERS = [4, 4, 0, 1, 1, 1, 2, 9, 9, 7]


def test_sign_flips_of_few_images_are_all_of_them():
    values = np.random.default_rng(0).normal(0.4, 1, size=(10, 3))
    p_values = sign_flip_p(values, CLUSTERS)
    assert p_values == pytest.approx([all_flips(column, CLUSTERS) for column in values.T])
    assert len(set(p_values)) > 1 and (p_values * 2**6 % 1 == 0).all()


def test_random_sign_flips_approach_all_of_them(monkeypatch):
    values = np.random.default_rng(1).normal(0.4, 1, size=(10, 4))
    exact = [all_flips(column, CLUSTERS) for column in values.T]
    # 63 flips and the values as they are would be as many as all 2**6
    assert sign_flip_p(values, CLUSTERS, flips=63).tolist() == exact
    drawn = sign_flip_p(values, CLUSTERS, flips=62)
    assert np.allclose(drawn * 63, np.round(drawn * 63)) and drawn.tolist() != exact
    assert drawn == pytest.approx(exact, abs=0.15)
    many = sign_flip_p(np.tile(values, (3, 1)), range(30))
    monkeypatch.setattr(paired, "_CELLS", 1000)  # many chunks
    assert sign_flip_p(np.tile(values, (3, 1)), range(30)) == pytest.approx(many, abs=0.02)
    monkeypatch.setattr(paired, "_CELLS", 10)
    assert sign_flip_p(values, CLUSTERS).tolist() == exact


def test_differences_of_zero_have_p_1_and_nan_has_none():
    values = np.zeros((30, 2))
    values[3, 1] = np.nan
    assert sign_flip_p(values, range(30)).tolist() == pytest.approx([1, np.nan], nan_ok=True)
    assert sign_flip_p([0.2, 0.1, -0.3] * 10, range(30)) == 1  # a sum of 1e-16


def test_one_item_that_differs_is_no_evidence():
    assert sign_flip_p(np.eye(30)[0], range(30)) == 1


def test_sign_flips_reject_a_null_as_often_as_their_level():
    rng, clusters = np.random.default_rng(2), np.arange(120) // 3
    values = rng.normal(size=(40, 1000))[clusters] + rng.normal(size=(120, 1000))
    p_values = sign_flip_p(values, clusters, flips=999)
    assert 0.03 < (p_values <= 0.05).mean() < 0.07
    # Items are no images: their own flips reject too often.
    assert (sign_flip_p(values, range(120), flips=999) <= 0.05).mean() > 0.12


def test_a_planted_difference_is_significant():
    values = np.random.default_rng(3).normal(0.5, 1, size=100)
    assert sign_flip_p(values, range(100)) < 0.001


def test_holm_matches_a_calculation_by_hand():
    # .01 * 4, .03 * 3, .04 * 2 -> at least .09, and .5
    assert holm([0.04, 0.01, 0.5, 0.03]) == pytest.approx([0.09, 0.04, 0.5, 0.09])
    assert holm([0.9, 0.8]).tolist() == [1, 1]
    assert holm([np.nan, 0.02, np.nan, 0.03]) == pytest.approx(
        [np.nan, 0.04, np.nan, 0.04], nan_ok=True
    )
    assert holm([]).tolist() == []


def test_one_draw_a_side_is_the_paired_t_test():
    rng = np.random.default_rng(4)
    ours, theirs = rng.normal(size=(2, 1, 25))
    result = paired_difference(ours, theirs, range(25))
    test = scipy.stats.ttest_rel(ours[0], theirs[0])
    interval = test.confidence_interval(0.95)
    assert result.difference == pytest.approx(ours.mean() - theirs.mean())
    assert result.difference / result.standard_error == pytest.approx(test.statistic)
    assert (result.low, result.high) == pytest.approx((interval.low, interval.high))


def test_draws_without_interaction_add_the_variance_of_their_means():
    rng = np.random.default_rng(5)
    items, draws = rng.normal(size=12), rng.normal(size=(4, 1))
    result = paired_difference(items + draws, np.zeros((1, 12)), range(12))
    parts = items.var(ddof=1) / 12, draws.var(ddof=1) / 4
    assert result.standard_error == pytest.approx(np.sqrt(sum(parts)))
    quantiles = scipy.stats.t.ppf(0.975, [11, 3])
    assert result.high - result.difference == pytest.approx(np.sqrt(np.dot(parts, quantiles**2)))


def test_what_draws_do_on_single_images_is_counted_once():
    # The draws' means are 2 and 0: variance 2, over 2 draws 1. Beyond the means of draws and items
    # remain +-0.5: 0.25 for each draw's mean, and 0.25 for that of both. The items' means are 1.5
    # and 0.5: variance 0.5, over 2 items 0.25. In all 1 - 0.25 + 0.25.
    result = paired_difference([[3.0, 1.0], [0.0, 0.0]], [[0.0, 0.0]], [0, 1])
    assert (result.difference, result.standard_error) == (1, pytest.approx(1))


def test_one_image_has_no_interval():
    result = paired_difference([[1.0, 2.0]], [[0.0, 0.0], [1.0, 1.0]], [3, 3])
    assert result.difference == 1
    assert np.isnan([result.standard_error, result.low, result.high]).all()


def simulated_differences(rng, draws, draw_effect, interaction):
    """A setup of `draws` draws and another of one, whose true difference is 0, and images.

    An image has 1 to 4 items, a shared level, and an effect of its own on the first setup.
    """
    counts = rng.integers(1, 5, size=60)
    images = np.repeat(np.arange(60), counts)
    level, effect = rng.normal(size=(2, 60))
    of_draws = rng.normal(0, draw_effect, size=(draws, 1)) if draw_effect else 0
    of_both = rng.normal(0, interaction, size=(draws, 60))
    ours = (level + 0.5 * effect + of_both)[:, images] + of_draws
    theirs = level[None, images]
    noise = [rng.normal(0, 0.5, size=(number, len(images))) for number in (draws, 1)]
    return ours + noise[0], theirs + noise[1], images


@pytest.mark.parametrize(
    ("draws", "draw_effect", "interaction"),
    [(1, 0, 0), (3, 0.3, 0.1), (5, 0.1, 1), (10, 0.3, 0.1)],
)
def test_an_interval_covers_the_truth_as_often_as_it_says(draws, draw_effect, interaction):
    rng, covered = np.random.default_rng(6), 0
    for _ in range(2000):
        data = simulated_differences(rng, draws, draw_effect, interaction)
        result = paired_difference(*data)
        covered += result.low <= 0 <= result.high
    print(f"{draws} draws: covered {covered / 2000:.4f}")
    assert 0.93 <= covered / 2000 <= 0.97

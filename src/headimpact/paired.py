"""Paired comparisons of two sets of runs on the same items: differences, sign flips and Holm."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from headimpact.statistics import cluster_sums, clustered_error

_CELLS = 2**22  # of the largest array that sign_flip_p makes at once


@dataclass(frozen=True)
class PairedDifference:
    """A mean difference with its standard error and its 95 % interval, nan where it has none."""

    difference: float
    standard_error: float
    low: float
    high: float


def paired_difference(
    values: ArrayLike, against: ArrayLike, clusters: ArrayLike
) -> PairedDifference:
    """The mean of `values` minus the mean of `against`, as a sample of items and of draws.

    values, against: float (draws, items) each, of the same items in the same order; the numbers of
    draws may differ. clusters: (items,), the image of each item.

    The variance is the sum of independent parts. The images' part is the clustered variance of the
    item differences, averaged over draws. The draws' part, for each side with more than one draw,
    is the variance of the mean of its draws, less what the images contribute to that: each draw
    responds to the images in its own way, and the images' part holds this already (the two-way
    clustering of Cameron, Gelbach and Miller, 2011). A side with one draw adds nothing, since
    nothing is known of its spread.

    The squared half-width of the interval is the sum of the parts, each times the square of its
    own quantile of Student's t (Banerjee, 1960). Three draws have a quantile of 4.3, and images
    one of about 2. Satterthwaite's degrees of freedom give narrower intervals, which cover 92 %
    when three draws differ much. Error and interval are nan with fewer than two clusters.
    """
    from scipy.stats import t  # The import takes half a second, and few callers need it.

    values, against = np.asarray(values, dtype=float), np.asarray(against, dtype=float)
    items = values.mean(0) - against.mean(0)
    parts = [(clustered_error(items, clusters) ** 2, len(np.unique(clusters)) - 1)]
    for side in (values, against):
        if len(side) > 1:
            parts.append((_draws_variance(side, clusters), len(side) - 1))
    difference = float(items.mean())
    half_width = np.sqrt(sum(part * t.ppf(0.975, freedom) ** 2 for part, freedom in parts))
    return PairedDifference(
        difference=difference,
        standard_error=float(np.sqrt(sum(part for part, _ in parts))),
        low=float(difference - half_width),
        high=float(difference + half_width),
    )


def _draws_variance(values: np.ndarray, clusters: ArrayLike) -> float:
    """Variance of the mean of draws, float (draws, items), that the clusters do not explain."""
    draws, means = len(values), values.mean(1)
    # What a draw does on an item beyond the draw's mean and the item's mean.
    interaction = values - values.mean(0) - (means - means.mean())[:, None]
    explained = (clustered_error(interaction.T, clusters) ** 2).sum() / (draws * (draws - 1))
    return max(float(means.var(ddof=1) / draws - explained), 0.0)


def sign_flip_p(
    values: ArrayLike, clusters: ArrayLike, flips: int = 9999, seed: int = 0
) -> np.ndarray | float:
    """Two-sided p of the null that paired differences are symmetric about 0, by sign flips.

    values: float (items, ...), the difference of each item. clusters: (items,), the image of each
    item; all items of an image change their sign together. Returns float64 (...): the share of
    flips whose absolute sum is at least as large as that of `values`. All 2**clusters flips are
    made if they are no more than flips + 1; otherwise `flips` are drawn at random, and the values
    as they are count as one more. Differences that are all 0 give 1, and a nan gives nan.
    """
    sums = cluster_sums(values, clusters)
    count, shape = len(sums), sums.shape[1:]
    sums = sums.reshape(count, -1)
    # Equal sums may differ in the last bits by the order of summation.
    limits = np.abs(sums.sum(0)) - 1e-9 * np.abs(sums).sum(0)
    is_complete = 2**count <= flips + 1
    total = 2**count if is_complete else flips
    size = max(1, _CELLS // max(sums.shape))
    rng, at_least = np.random.default_rng(seed), np.zeros(sums.shape[1], dtype=int)
    for first in range(0, total, size):  # in chunks, to save memory
        numbers = np.arange(first, min(first + size, total))
        if is_complete:
            flipped = numbers[:, None] >> np.arange(count) & 1
        else:
            flipped = rng.integers(0, 2, (len(numbers), count), dtype=np.int8)
        at_least += (np.abs((1.0 - 2 * flipped) @ sums) >= limits).sum(0)
    p_values = at_least / total if is_complete else (at_least + 1) / (total + 1)
    return np.where(np.isnan(limits), np.nan, p_values).reshape(shape)[()]


def holm(p_values: ArrayLike) -> np.ndarray:
    """P-values corrected by Holm's step-down procedure, float64 (tests,).

    p_values: float (tests,). A nan stays nan, and does not count as a test.
    """
    p_values = np.asarray(p_values, dtype=float)
    corrected = np.full(p_values.shape, np.nan)
    order = np.argsort(p_values)  # nan comes last
    order = order[: np.isfinite(p_values).sum()]
    steps = p_values[order] * np.arange(len(order), 0, -1)
    corrected[order] = np.minimum(np.maximum.accumulate(steps), 1)
    return corrected

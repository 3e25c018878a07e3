"""Standard errors clustered by image, perplexity, and the Kruskal-Wallis test."""

from typing import Any

import numpy as np
from numpy.typing import ArrayLike


def cluster_sums(values: ArrayLike, clusters: ArrayLike) -> np.ndarray:
    """The sum of the items of each cluster, in the order of the clusters' names.

    values: float (items, ...). clusters: (items,), the cluster of each item. Returns float64
    (clusters, ...).
    """
    values = np.asarray(values, dtype=float)
    names, index = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.zeros((len(names), *values.shape[1:]))
    np.add.at(sums, index, values)
    return sums


def in_second_half(clusters: ArrayLike, seed: int = 0) -> np.ndarray:
    """Whether each item's cluster is of the second of two random halves, bool (items,).

    clusters: (items,), the cluster of each item. The halves depend on the clusters' names and the
    seed alone; of an odd number the first half has one more.
    """
    names, index = np.unique(np.asarray(clusters), return_inverse=True)
    order = np.random.default_rng(seed).permutation(len(names))
    return order[index] >= (len(names) + 1) // 2


def resample(
    sums: np.ndarray, draws: int, rng: np.random.Generator, size: int | None = None
) -> np.ndarray:
    """Sums over clusters that are drawn with replacement, float64 (draws, ...).

    sums: (clusters, ...), as of `cluster_sums`. size: how many clusters a draw has; None for as
    many as there are.
    """
    clusters = len(sums)
    counts = rng.multinomial(size or clusters, np.full(clusters, 1 / clusters), size=draws)
    return np.tensordot(counts.astype(float), sums, 1)


def highest(values: np.ndarray, count: int) -> np.ndarray:
    """Which places hold the `count` highest values of each row, bool (rows, places).

    Ties go to the earlier place.
    """
    # sums of equal terms may differ in the last bits
    order = np.argsort(-np.round(values, 12), axis=1, kind="stable")[:, :count]
    chosen = np.zeros(values.shape, bool)
    np.put_along_axis(chosen, order, True, axis=1)
    return chosen


def clustered_error(values: ArrayLike, clusters: ArrayLike) -> np.ndarray | float:
    """Standard error of the mean over items, clustered because objects of an image depend.

    values: float (items, ...). clusters: (items,), the cluster of each item. Returns float64
    (...): s / sqrt(n) if every cluster has one item, and nan if there are fewer than two
    clusters.
    """
    values = np.asarray(values, dtype=float)
    residual_sums = cluster_sums(values - values.mean(0), clusters)
    count = len(residual_sums)
    if count < 2:
        return np.full(values.shape[1:], np.nan)[()]
    return np.sqrt((residual_sums**2).sum(0) * count / (count - 1)) / len(values)


def perplexity(losses: ArrayLike, clusters: ArrayLike) -> tuple[float, float]:
    """Perplexity, equation (3), with its standard error.

    losses: (items,), the mean negative log-likelihood of the tokens of each item, in nats.
    clusters: (items,). The error is from the delta method: the perplexity times the standard
    error of the mean loss.
    """
    value = float(np.exp(np.mean(losses)))
    return value, value * clustered_error(losses, clusters)


def kruskal(matrix: ArrayLike) -> dict[str, dict[str, float]]:
    """Kruskal-Wallis test on Head Impact over layers and over heads (section 5.2, Table 2).

    matrix: float (layers, heads). Returns a dict with the keys "layers" (each layer is a group
    with a value for each head) and "heads" (the reverse). Each test has statistic,
    degrees_of_freedom and p_value, which are nan if all values are equal or there is only one
    group.
    """
    import scipy.stats  # The import takes half a second, and few callers need it.

    matrix, results = np.asarray(matrix, dtype=float), {}
    for name, groups in (("layers", matrix), ("heads", matrix.T)):
        statistic = p_value = float("nan")
        if len(groups) > 1 and len(np.unique(matrix)) > 1:
            statistic, p_value = (float(value) for value in scipy.stats.kruskal(*groups))
        results[name] = {
            "statistic": statistic,
            "degrees_of_freedom": len(groups) - 1,
            "p_value": p_value,
        }
    return results


def kruskal_interval(
    iou: ArrayLike,
    clusters: ArrayLike,
    draws: int = 1000,
    seed: int = 0,
    level: float = 0.95,
) -> dict[str, dict[str, Any]]:
    """Bootstrap intervals of the Kruskal-Wallis tests, from images resampled with replacement.

    iou: float (objects, layers, heads). clusters: (objects,), the image of each object. Returns
    the dict of `kruskal` with (low, high) instead of statistic and p_value: the percentiles that
    enclose `level` of the draws. They are nan if there is only one image or one group, or if the
    test of a draw is nan.

    A resampled image adds the noise of the sample a second time. The statistic of a draw is
    therefore biased, and the interval, which is not corrected, can miss the statistic of the
    sample. Independent noise in the heads moves it towards the degrees of freedom; noise that the
    heads of a group share makes it larger.
    """
    from scipy.stats import chi2  # see `kruskal`

    iou = np.asarray(iou, dtype=float)
    sums = cluster_sums(iou / len(iou), clusters)
    images = len(sums)
    rng, statistics = np.random.default_rng(seed), []
    for first in range(0, draws, 100):  # in chunks, to save memory
        # The sum is not divided by the number of objects in the draw, since that changes no rank.
        resampled = resample(sums, min(100, draws - first), rng)
        # Equal values may differ in the last bits by the order of summation; rounding keeps ties.
        statistics.append(_kruskal_statistics(np.round(resampled, 12)))
    results = {}
    for axis, name in enumerate(("layers", "heads")):
        statistic, freedom = np.concatenate(statistics, axis=1)[axis], iou.shape[axis + 1] - 1
        if images < 2:
            statistic = np.full(draws, np.nan)
        results[name] = {
            "statistic": tuple(percentile_interval(statistic, level=level).tolist()),
            "degrees_of_freedom": freedom,
            "p_value": tuple(
                percentile_interval(chi2.sf(statistic, freedom), level=level).tolist()
            ),
        }
    return results


def percentile_interval(draws: np.ndarray, axis: int = -1, level: float = 0.95) -> np.ndarray:
    """The percentiles that enclose `level` of the draws, (2, ...): low and high.

    draws: float, the values of resampled data along `axis`. nan where one of the draws is nan.
    """
    return np.quantile(draws, [(1 - level) / 2, (1 + level) / 2], axis=axis)


def _kruskal_statistics(matrices: np.ndarray) -> np.ndarray:
    """The statistics of `kruskal`, over layers and over heads, of many matrices at once.

    matrices: float (draws, layers, heads). Returns float64 (2, draws), with nan as in `kruskal`.
    """
    from scipy.stats import rankdata  # see `kruskal`

    draws, *groups = matrices.shape
    count = groups[0] * groups[1]
    ranks = rankdata(matrices.reshape(draws, count), axis=1) - (count + 1) / 2
    spread = (ranks**2).sum(1)  # smaller if there are ties, which is the correction for ties
    ranks, results = ranks.reshape(matrices.shape), np.full((2, draws), np.nan)
    for axis, group_count in enumerate(groups):
        if group_count > 1:
            between = (ranks.sum(2 - axis) ** 2).sum(1) * group_count / count
            np.divide((count - 1) * between, spread, out=results[axis], where=spread > 0)
    return results

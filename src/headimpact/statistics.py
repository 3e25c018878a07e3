"""Standard errors clustered by image, perplexity and the Kruskal-Wallis test."""

import numpy as np


def clustered_error(values, clusters):
    """Standard error of the mean over items, with errors clustered by `clusters` (items,).

    values: float (items, ...). Returns float64 (...). Objects of one image are not independent.
    With one value a cluster it is s / sqrt(n); with fewer than two clusters it is nan.
    """
    values = np.asarray(values, dtype=float)
    names, index = np.unique(np.asarray(clusters), return_inverse=True)
    groups, shape = len(names), values.shape[1:]
    if groups < 2:
        return np.full(shape, np.nan)[()]
    sums = np.zeros((groups, *shape))
    np.add.at(sums, index, values - values.mean(0))
    return np.sqrt((sums**2).sum(0) * groups / (groups - 1)) / len(values)


def perplexity(losses, clusters):
    """Perplexity, equation (3), of items' mean token losses (items,), with its error.

    losses: negative log-likelihood a token of each item, nats. The error is by the delta
    method: the perplexity times the error of the mean.
    """
    value = float(np.exp(np.mean(losses)))
    return value, value * clustered_error(losses, clusters)


def kruskal(matrix):
    """Kruskal-Wallis test on Head Impact, float (layers, heads), over layers and over heads.

    Returns a dict: "layers" (a group a layer, one value a head) and "heads" (a group a head,
    one value a layer), each with statistic, degrees_of_freedom and p_value; nan where all
    values are equal or there is one group only (section 5.2, Table 2).
    """
    import scipy.stats  # half a second that only this test needs

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


def kruskal_interval(iou, clusters, draws=1000, seed=0, level=0.95, weights=None):
    """What `kruskal` gives on images drawn again with replacement: a bootstrap interval.

    iou: float (objects, layers, heads). clusters: (objects,), the image of each object. weights:
    float (objects,), what an object counts in Head Impact; None for all alike. Returns the dict
    of `kruskal` with (low, high) in place of statistic and p_value, the percentiles that hold
    `level` of the draws; nan where there is one cluster or group only or a draw has no test.

    A draw adds the sample's noise once more, so its statistic is biased and the interval, which
    is not corrected for it, can miss the sample's own statistic: independent noise of the heads
    draws it toward the degrees of freedom, noise that the heads of a group share drives it up.
    """
    from scipy.stats import chi2  # half a second that only this test needs

    iou = np.asarray(iou, dtype=float)
    weights = np.ones(len(iou)) if weights is None else np.asarray(weights, dtype=float)
    names, index = np.unique(np.asarray(clusters), return_inverse=True)
    sums = np.zeros((len(names), *iou.shape[1:]))
    np.add.at(sums, index, iou * (weights / weights.sum()).reshape(-1, 1, 1))
    rng, statistics = np.random.default_rng(seed), []
    for first in range(0, draws, 100):  # a chunk at a time, for memory
        shape, share = min(100, draws - first), np.full(len(names), 1 / len(names))
        counts = rng.multinomial(len(names), share, size=shape).astype(float)
        # the weight drawn is left out: it divides a whole matrix, which no rank sees
        drawn = np.tensordot(counts, sums, 1)
        # the order in which a product sums must not part what is tied
        statistics.append(_kruskal_statistics(np.round(drawn, 12)))
    results = {}
    for axis, name in enumerate(("layers", "heads")):
        statistic, freedom = np.concatenate(statistics, axis=1)[axis], iou.shape[axis + 1] - 1
        if len(names) < 2:
            statistic = np.full(draws, np.nan)
        results[name] = {
            "statistic": _percentiles(statistic, level),
            "degrees_of_freedom": freedom,
            "p_value": _percentiles(chi2.sf(statistic, freedom), level),
        }
    return results


def _percentiles(values, level):
    return tuple(float(x) for x in np.quantile(values, [(1 - level) / 2, (1 + level) / 2]))


def _kruskal_statistics(matrices):
    """The statistics of `kruskal` over layers and over heads of each of many matrices.

    matrices: float (draws, layers, heads). Returns float64 (2, draws); see `kruskal` for nan.
    """
    from scipy.stats import rankdata  # as above

    draws, *groups = matrices.shape
    count = groups[0] * groups[1]
    ranks = rankdata(matrices.reshape(draws, count), axis=1) - (count + 1) / 2
    spread = (ranks**2).sum(1)  # smaller by ties, and so corrects for them
    ranks, results = ranks.reshape(matrices.shape), np.full((2, draws), np.nan)
    for axis, total in enumerate(groups):
        if total > 1:
            between = (ranks.sum(2 - axis) ** 2).sum(1) * total / count
            np.divide((count - 1) * between, spread, out=results[axis], where=spread > 0)
    return results

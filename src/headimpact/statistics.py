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

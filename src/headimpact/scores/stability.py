"""How often other images would have given the same top layers."""

import numpy as np
import pandas as pd

from headimpact.guards import UserError
from headimpact.scores.inputs import Scores
from headimpact.statistics import cluster_sums, highest, resample


def top_stability(
    scores: Scores, count: int, higher_is_better: bool = True, draws: int = 1000, seed: int = 0
) -> pd.DataFrame:
    """How often images drawn with replacement give the top layers that all images give.

    scores: with items. count: how many layers the top has. Returns a row for all images, half of
    them, a quarter and an eighth: images; same_layers, the share of draws whose top layers are
    exactly those of all images; overlap, the mean share of these layers that a draw has, too.
    Raises UserError if the score has no items.
    """
    if scores.items is None:
        raise UserError("the score is no mean over objects, so that images cannot be resampled")
    items = scores.items if higher_is_better else -scores.items
    items = items.reshape(*items.shape[:2], -1).mean(2)
    sums = cluster_sums(items, scores.images)
    images = len(sums)
    top = highest(sums.sum(0)[None], count)
    rng, rows = np.random.default_rng(seed), []
    for size in sorted({max(images // part, 1) for part in (8, 4, 2, 1)}):
        # the sum over the drawn objects ranks the layers as their mean does
        common = (highest(resample(sums, draws, rng, size), count) & top).sum(1)
        rows.append((size, (common == count).mean(), common.mean() / count))
    return pd.DataFrame(rows, columns=["images", "same_layers", "overlap"])

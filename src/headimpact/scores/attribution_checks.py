"""How far the coefficients of head attribution can be relied on."""

import numpy as np
import pandas as pd

from headimpact import score_registry
from headimpact.scores.attribution import Regression
from headimpact.statistics import cluster_sums, highest, percentile_interval, resample

DRAWS = 100  # of images, and of halves of them
TOP_SHARE = 0.25  # of the heads, of which two halves of the images are compared


def attribution_checks(
    rows: pd.DataFrame, objects: pd.DataFrame, outcomes: list[str], seed: int = 0
) -> pd.DataFrame:
    """A row for each effect that comes from one of `outcomes`.

    rows: a table of kind "interventions" with the designs "random" and "fresh".
    fresh_correlation: Pearson's, between the prediction of the coefficients and the outcome, both
    centred within their item, over the rows of the design "fresh", whose images took no part in
    the regression. half_correlation: Pearson's, between the coefficients of two halves of the
    images. half_overlap: the share of the top quarter of the heads that two halves have in common.
    Those of halves are means over random halves. Bounds are of 95 % intervals from images drawn
    with replacement, within each half for those of halves: these lie lower than the value, since
    an image that is drawn twice says nothing new. passes: the cost of all rows, in passes of an
    item's plain sequences.
    """
    table = []
    for effect, outcome in score_registry.EFFECTS.items():
        if outcome not in outcomes:
            continue
        rng = np.random.default_rng(seed)
        fitted = Regression.of_rows(rows, objects, effect, "random")
        fresh = Regression.of_rows(rows, objects, effect, "fresh")
        top = round(TOP_SHARE * fitted.kept.shape[1])
        row = {
            "outcome": effect,
            "variant": rows["variant"].iloc[0],
            "items": fitted.items,
            "rows": len(fitted.kept),
            "fresh_items": fresh.items,
            "top": top,
        }
        for name, value, drawn in (
            ("fresh_correlation", *_fresh_correlation(fitted.coefficients(), fresh, rng)),
            *_compare_halves(fitted, top, rng),
        ):
            low, high = percentile_interval(drawn)
            row |= {name: value, f"{name}_low": low, f"{name}_high": high}
        table.append({**row, "passes": rows["passes"].sum()})
    return pd.DataFrame(table)


def _fresh_correlation(coefficients, fresh, rng):
    """The correlation of prediction and outcome, and those of drawn images (draws,)."""
    predicted, actual = fresh.kept @ coefficients, fresh.values
    products = np.stack([predicted * actual, predicted**2, actual**2], 1)
    sums = cluster_sums(products, fresh.images)

    def correlation(sums):
        return sums[..., 0] / np.sqrt(sums[..., 1] * sums[..., 2])

    return correlation(sums.sum(0)), correlation(resample(sums, DRAWS, rng))


def _compare_halves(fitted, top, rng):
    """(name, value, values of drawn images) of what two halves of the images have in common."""
    images = len(np.unique(fitted.images))
    halves, drawn = [], []
    for _ in range(DRAWS):
        first = rng.permutation(images) < images // 2
        both = np.stack([first, ~first]).astype(int)
        halves.append(_agreement(fitted, both, top))
        resampled = [rng.multinomial(half.sum(), half / half.sum()) for half in both]
        drawn.append(_agreement(fitted, np.stack(resampled), top))
    names = "half_correlation", "half_overlap"
    return zip(names, np.mean(halves, 0), np.transpose(drawn), strict=True)


def _agreement(fitted, counts, top):
    """Correlation of the coefficients of two weightings of the images, and overlap of their top."""
    coefficients = np.stack([fitted.coefficients(count) for count in counts])
    in_top = highest(coefficients, top)
    return np.corrcoef(coefficients)[0, 1], in_top.all(0).sum() / top

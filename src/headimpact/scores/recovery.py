"""How well a score finds heads and layers that are known to carry what the image says."""

import json
from pathlib import Path

import numpy as np
import pandas as pd

from headimpact.guards import UserError
from headimpact.scores.inputs import Scores
from headimpact.statistics import highest, percentile_interval


def read_reading_heads(path: str | Path, layers: int, heads: int) -> np.ndarray:
    """The reading heads that a JSON file names, bool (layers, heads).

    The file is an object with a list of [layer, head] under `reading_heads`. Raises UserError,
    naming the file, if it is not, or if the decoder lacks such a head or has no other.
    """
    try:
        places = json.loads(Path(path).read_bytes())["reading_heads"]
        reading = np.zeros((layers, heads), bool)
        reading[tuple(np.array(places, int).reshape(-1, 2).T)] = True
        known = min(map(min, places)) >= 0 and 0 < reading.sum() < reading.size
    except (ValueError, KeyError, TypeError, IndexError):
        known = False
    if not known:
        raise UserError(
            f"{path}: no list reading_heads of [layer, head] below {layers} layers and {heads} "
            f"heads, that names some heads and not all; correct it"
        )
    return reading


def recovery(scores: Scores, reading: np.ndarray, higher_is_better: bool = True) -> pd.DataFrame:
    """How well a score separates the reading heads from the others.

    reading: bool (layers, heads). A layer's score is the mean over its heads, and it is a reading
    layer if it has a reading head. Returns a row for heads, unless the score is one a layer, and
    one for layers if not all are reading layers: unit; total and reading, how many there are;
    found, the share of the reading ones among as many of the best scores; area, that under the ROC
    curve (0.5 is chance); and the bounds found_low, found_high, area_low and area_high of their
    intervals, from images drawn with replacement, nan for a score that has no such draws.
    """
    sign = 1 if higher_is_better else -1
    resampled = scores.resample_images()
    rows = []
    for unit, truth in (("head", reading), ("layer", reading.any(1))):
        if truth.all() or scores.value.ndim < truth.ndim:
            continue

        def measure(values: np.ndarray, truth: np.ndarray = truth) -> tuple[np.ndarray, np.ndarray]:
            values = values if values.ndim - 1 == truth.ndim else values.mean(-1)
            values = sign * values.reshape(len(values), -1)
            return _share_found(values, truth.ravel()), _area(values, truth.ravel())

        row = {"unit": unit, "total": truth.size, "reading": int(truth.sum())}
        of_draws = (None, None) if resampled is None else measure(resampled)
        for name, value, drawn in zip(
            ("found", "area"), measure(scores.value[None]), of_draws, strict=True
        ):
            bounds = (np.nan,) * 2 if drawn is None else percentile_interval(drawn)
            row |= {name: value[0], f"{name}_low": bounds[0], f"{name}_high": bounds[1]}
        rows.append(row)
    return pd.DataFrame(rows)


def _share_found(values: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The share of the true ones among as many of the highest values, (draws,)."""
    return (highest(values, truth.sum()) & truth).sum(1) / truth.sum()


def _area(values: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """The area under the ROC curve, (draws,): how often a true one is above another."""
    from scipy.stats import rankdata  # takes half a second to import, and few jobs need it

    ranks = rankdata(np.round(values, 12), axis=1)
    true, false = truth.sum(), (~truth).sum()
    return (ranks[:, truth].sum(1) - true * (true + 1) / 2) / (true * false)

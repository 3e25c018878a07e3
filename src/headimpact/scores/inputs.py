"""What a head score is computed from, and the table that it becomes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd


@dataclass
class ScoreInputs:
    """The key objects of the split impact, and what the score's entry in the registry needs.

    samples, objects: tables of those kinds; `objects` holds those of other splits, too.
    tokens, attention: tables of those kinds, for a score that needs "attention".
    shifted, untrained: for nulls; a table of kind "shifted_tokens", and the "attention" of a model
    with random weights.
    interventions: a table of that kind, of the designs that the score needs.
    knockouts: a table of that kind, for a score that needs "knockouts".
    images (a CocoFolder), model and family: for a score that needs "model".
    """

    samples: pd.DataFrame
    objects: pd.DataFrame
    tokens: pd.DataFrame | None = None
    attention: pd.DataFrame | None = None
    shifted: pd.DataFrame | None = None
    untrained: pd.DataFrame | None = None
    interventions: pd.DataFrame | None = None
    knockouts: pd.DataFrame | None = None
    images: Any = None
    model: Any = None
    family: Any = None


@dataclass(frozen=True)
class Scores:
    """A number a head, (layers, heads), or a number a layer, (layers,), all float64.

    standard_error: of the same shape; None where a score has none. n: how many items each number
    is a mean of. null: what the score would be by chance, of the same shape. items: (n, *shape),
    the values that `value` is the mean of, and images: (n,), the image of each, by which items are
    resampled; None where a score is no such mean.
    """

    value: np.ndarray
    standard_error: np.ndarray | None = None
    n: int = 1
    null: np.ndarray | None = None
    items: np.ndarray | None = None
    images: np.ndarray | None = None


def scores_table(name: str, scores: Scores) -> pd.DataFrame:
    """A table of kind "scores"; the head of a layer's score is null."""
    places = np.indices(scores.value.shape).reshape(scores.value.ndim, -1)
    per_head = scores.value.ndim == 2

    def column(values: np.ndarray | None) -> np.ndarray:
        return np.full(scores.value.size, np.nan) if values is None else values.ravel()

    return pd.DataFrame(
        {
            "score": name,
            "layer": places[0],
            "head": pd.array(places[1] if per_head else [None] * places.shape[1], "Int16"),
            "value": scores.value.ravel(),
            "standard_error": column(scores.standard_error),
            "null": column(scores.null),
            "n": scores.n,
        }
    )


def scores_of_table(table: pd.DataFrame) -> Scores:
    """The values of a table that `scores_table` made, without items."""
    layers = table["layer"].max() + 1
    value = table.sort_values(["layer", "head"])["value"].to_numpy()
    return Scores(value if table["head"].isna().all() else value.reshape(layers, -1))

"""What a head score is computed from, and the table that it becomes."""

from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from headimpact.statistics import cluster_sums, in_second_half, resample

DRAWS = 1000  # of images, with replacement, of a score that is a mean over items


@dataclass
class ScoreInputs:
    """The key objects of the split impact, and what the score's entry in the registry needs.

    samples, objects: tables of those kinds; `objects` holds those of other splits, too.
    tokens, attention: tables of those kinds, for a score that needs "attention".
    shifted, untrained: for nulls; a table of kind "shifted_tokens", and the "attention" of a model
    with random weights.
    interventions: a table of that kind, of the designs that the score needs.
    knockouts: a table of that kind, for a score that needs "knockouts".
    images (a CocoFolder), model and family: for a score that needs "model". One that needs
    "weights" gets model and family.
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

    def attention_passes(self) -> int:
        """How many passes of the model gave `attention`: one for each image, see `Scores.cost`."""
        measured = self.objects["object_id"].isin(self.attention["object_id"])
        return self.objects.loc[measured, "sample_id"].nunique()


@dataclass(frozen=True)
class Scores:
    """A number a head, (layers, heads), or a number a layer, (layers,), all float64.

    standard_error: of the same shape; None where a score has none. n: how many items each number
    is a mean of. null: what the score would be by chance, of the same shape. items: (n, *shape),
    the values that `value` is the mean of, and images: (n,), the image of each, by which items are
    resampled; None where a score is no such mean. halves: (2, *shape), the score of either half of
    the images, see `statistics.in_second_half`. resampled: (draws, *shape), the score of images
    drawn with replacement. Halves and draws of a score with items follow from these. cost: how many
    forward passes of the model the score needed in all, where an image with all its descriptions is
    one pass, and a backward pass counts as two; None if that is not known.
    """

    value: np.ndarray
    standard_error: np.ndarray | None = None
    n: int = 1
    null: np.ndarray | None = None
    items: np.ndarray | None = None
    images: np.ndarray | None = None
    halves: np.ndarray | None = None
    resampled: np.ndarray | None = None
    cost: float | None = None

    def score_halves(self) -> np.ndarray:
        """The score of either half of the images, (2, *shape); nan where that is not known."""
        if self.halves is not None:
            return self.halves
        if self.items is None or len(np.unique(self.images)) < 2:
            return np.full((2, *self.value.shape), np.nan)
        second = in_second_half(self.images)
        return np.stack([self.items[~second].mean(0), self.items[second].mean(0)])

    def resample_images(self) -> np.ndarray | None:
        """The score of images drawn with replacement, (draws, *shape); None if it is not known."""
        if self.resampled is not None or self.items is None:
            return self.resampled
        # the last column counts the items, of which a drawn image may have many or few
        count = len(self.items)
        columns = np.column_stack([self.items.reshape(count, -1), np.ones(count)])
        sums = resample(cluster_sums(columns, self.images), DRAWS, np.random.default_rng(0))
        return (sums[:, :-1] / sums[:, -1:]).reshape(DRAWS, *self.value.shape)


def scores_table(name: str, scores: Scores) -> pd.DataFrame:
    """A table of kind "scores"; the head of a layer's score is null."""
    places = np.indices(scores.value.shape).reshape(scores.value.ndim, -1)
    per_head = scores.value.ndim == 2
    first, second = scores.score_halves()
    resampled = scores.resample_images()
    if resampled is not None:
        resampled = resampled.reshape(len(resampled), -1).T.astype("float32")

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
            "first_half": column(first),
            "second_half": column(second),
            "resampled": [None] * scores.value.size if resampled is None else list(resampled),
            "n": scores.n,
            "cost": np.nan if scores.cost is None else float(scores.cost),
        }
    )


def scores_of_table(table: pd.DataFrame) -> Scores:
    """The values of a table that `scores_table` made, its halves and draws, without items."""
    shape = (-1,) if table["head"].isna().all() else (table["layer"].max() + 1, -1)
    table = table.sort_values(["layer", "head"])
    value, *halves = (
        table[name].to_numpy(float).reshape(shape)
        for name in ("value", "first_half", "second_half")
    )
    resampled = None
    if table["resampled"].notna().all():
        resampled = np.stack(table["resampled"]).T.reshape(-1, *value.shape)
    return Scores(value, halves=np.stack(halves), resampled=resampled)

"""Head scores to layer scores to the layers that a fine-tuning setup trains (section 5.3).

Each choice is a function (Decoder, **options) -> sorted list of int, with an entry in the registry.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from headimpact.guards import UserError

PUBLISHED = Path("resources/published/table3.csv")  # the paper's Table 3, as printed


@dataclass(frozen=True)
class Decoder:
    """What layers are chosen from.

    total: how many layers the decoder has. scores: float (total,), better is larger; None where
    the choice needs none. seed, draw: of a random choice. published: the model's name in the
    paper, for layers that it prints for `setup`.
    """

    total: int
    scores: np.ndarray | None = None
    seed: int | None = None
    draw: int = 0
    published: str | None = None
    setup: str = ""

    @property
    def ranked(self) -> np.ndarray:
        """All layers, the best first; ties go to the earlier layer."""
        return np.argsort(-self.scores, kind="stable")


def layer_scores(scores: pd.DataFrame) -> np.ndarray:
    """Mean over heads of a table of kind "scores", float64 (layers,).

    Raises UserError if it holds more than one score, or a head twice.
    """
    names = scores["score"].unique()
    if len(names) != 1:
        raise UserError(f"scores {', '.join(map(str, names))} in one table; rank layers by one")
    if scores.duplicated(["layer", "head"]).any():
        raise UserError(f"score {names[0]}: a head stands twice in its table; delete it, run again")
    return scores.groupby("layer")["value"].mean().sort_index().to_numpy()


def none(decoder: Decoder) -> list[int]:
    """No layer: the model as it is."""
    return []


def every(decoder: Decoder) -> list[int]:
    """All layers."""
    return list(range(decoder.total))


def listed(decoder: Decoder, layers: Sequence[int]) -> list[int]:
    """The layers that config.yaml lists."""
    if not set(layers) <= set(range(decoder.total)):
        raise UserError(
            f"setups.{decoder.setup}: layers {sorted(layers)} need a decoder of more than "
            f"{decoder.total}; correct them"
        )
    return sorted(set(layers))


def top(decoder: Decoder, count: int) -> list[int]:
    """The `count` layers of the highest scores."""
    _check_count(decoder, count, count)
    return sorted(decoder.ranked[:count].tolist())


def bottom(decoder: Decoder, count: int) -> list[int]:
    """The `count` layers of the lowest scores."""
    _check_count(decoder, count, count)
    return sorted(decoder.ranked[-count:].tolist())


def random(decoder: Decoder, count: int) -> list[int]:
    """`count` layers drawn from those that are neither top nor bottom, as the paper does."""
    _check_count(decoder, count, 3 * count)
    rng = np.random.default_rng((decoder.seed, decoder.draw))
    return sorted(rng.choice(decoder.ranked[count:-count], count, replace=False).tolist())


def published(decoder: Decoder) -> list[int]:
    """The layers that the paper's Table 3 prints for the model and setup."""
    return listed(decoder, published_layers(decoder.published, decoder.setup))


def published_layers(model: str, setup: str) -> list[int]:
    """The layers that Table 3 prints for a model and setup; raises UserError if it has none."""
    with PUBLISHED.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if (row["model"], row["setup"]) == (model, setup):
                return [int(layer) for layer in row["layers"].split(", ")]
    raise UserError(f"{PUBLISHED}: no layers of {model}, {setup}; take it from the repository")


def _check_count(decoder: Decoder, count: int, needed: int) -> None:
    if needed > decoder.total:
        raise UserError(
            f"setups.{decoder.setup}.count: {count} layers need a decoder of {needed}, this one "
            f"has {decoder.total}; lower it"
        )

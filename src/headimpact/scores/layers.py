"""Head scores to layer scores to the layers that a fine-tuning setup trains (section 5.3).

Each choice is a function (Decoder, **options) -> sorted list of int, with an entry in the registry.
"""

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random

import numpy as np
import pandas as pd

from headimpact.guards import UserError

PUBLISHED = Path("resources/published/table3.csv")  # the paper's Table 3, as printed
MATCHED_DISTANCE = 2  # how far a layer of `matched` may lie from the layer that it replaces


@dataclass(frozen=True)
class Decoder:
    """What layers are chosen from.

    total: how many layers the decoder has. scores: float (total,), better is larger; None where
    the choice needs none. seed, draw: of a random choice. published: the model's name in the
    paper, for layers that it prints for `setup`. matched_layers: sorted, those of the setup that
    `matched` imitates.
    """

    total: int
    scores: np.ndarray | None = None
    seed: int | None = None
    draw: int = 0
    published: str | None = None
    setup: str = ""
    matched_layers: Sequence[int] = ()

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


def first(decoder: Decoder, count: int) -> list[int]:
    """The first `count` layers."""
    _check_count(decoder, count, count)
    return list(range(count))


def last(decoder: Decoder, count: int) -> list[int]:
    """The last `count` layers."""
    _check_count(decoder, count, count)
    return list(range(decoder.total - count, decoder.total))


def uniform(decoder: Decoder, count: int) -> list[int]:
    """The layers at the middles of `count` equal parts of the depth."""
    _check_count(decoder, count, count)
    return [(2 * part + 1) * decoder.total // (2 * count) for part in range(count)]


def random(decoder: Decoder, count: int, rule: str = "all") -> list[int]:
    """`count` layers drawn at random; `draw_set` says how draws differ.

    rule: "all" draws from all layers; "paper" from those that are neither top nor bottom, as the
    paper does.
    """
    _check_count(decoder, count, 3 * count if rule == "paper" else count)
    layers = (
        range(decoder.total) if rule == "all" else sorted(decoder.ranked[count:-count].tolist())
    )
    return draw_set([layers] * count, decoder.seed, decoder.draw)


def matched(decoder: Decoder, to: str) -> list[int]:
    """Layers of about the same depth as those of the setup `to`, drawn at random.

    They are as many, the i-th lies within MATCHED_DISTANCE of the i-th of the setup's, and at
    least one differs. Draws differ as `draw_set` says. Raises UserError if there are no such
    layers.
    """
    target = list(decoder.matched_layers)
    near = [
        range(max(layer - MATCHED_DISTANCE, 0), min(layer + MATCHED_DISTANCE + 1, decoder.total))
        for layer in target
    ]
    layers = draw_set(near, decoder.seed, decoder.draw, excluded=target)
    if layers is None:
        raise UserError(
            f"setups.{decoder.setup}.to: {to} trains {len(target)} of {decoder.total} layers, and "
            f"no others lie within {MATCHED_DISTANCE} of them; name a setup that trains fewer"
        )
    return layers


def draw_set(
    candidates: Sequence[Sequence[int]],
    seed: int,
    draw: int,
    excluded: list[int] | None = None,
) -> list[int] | None:
    """One of all increasing lists of layers whose i-th layer is one of `candidates[i]`.

    All such lists are equally probable. The draws 0, 1, 2, ... of a seed are distinct until every
    list has been drawn; then their sequence begins again. A draw does not depend on how many
    follow it.

    candidates: increasing layers for each position, at least one position. excluded: one of the
    lists, which is never drawn. Returns None if there is no list to draw.
    """
    ways = _count_completions(candidates)
    total = sum(ways[0].values())
    possible = total - (excluded is not None)
    if not possible:
        return None
    rng, drawn = Random(seed), {}  # a dict keeps the order of its keys
    while len(drawn) <= draw % possible:
        layers = _list_of_rank(ways, rng.randrange(total))
        if list(layers) != excluded:
            drawn[layers] = None
    return list(next(reversed(drawn)))


def _count_completions(candidates: Sequence[Sequence[int]]) -> list[dict[int, int]]:
    """For each position, {layer: how many increasing lists go on from it there}."""
    ways = [dict.fromkeys(candidates[-1], 1)]
    for layers in reversed(candidates[:-1]):
        behind = ways[0]
        counts = {
            layer: sum(count for later, count in behind.items() if later > layer)
            for layer in layers
        }
        ways.insert(0, counts)
    return ways


def _list_of_rank(ways: list[dict[int, int]], rank: int) -> tuple[int, ...]:
    """The list of a rank, from 0, in the lexical order of all lists that `ways` counts."""
    layers = ()
    for counts in ways:
        for layer, count in counts.items():
            if layers and layer <= layers[-1]:
                continue
            if rank < count:
                layers += (layer,)
                break
            rank -= count
    return layers


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

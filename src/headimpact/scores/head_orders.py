"""Orders of a decoder's heads by scores, and the sets of heads of which an order makes a curve.

A curve of faithfulness keeps the image reads of the first k heads of an order and takes all others
away; a curve of completeness takes away those of the first k heads alone.
"""

from collections.abc import Iterable, Mapping, Sequence

import numpy as np
import pandas as pd

from headimpact.scores.inputs import scores_of_table

DEPTH, RANDOM = "lowest layer first", "random order"  # what is not ordered by a score


def head_orders(
    scores: Mapping[str, pd.DataFrame],
    higher_is_better: Iterable[bool],
    random_orders: int,
    seed: int,
) -> dict[str, np.ndarray]:
    """Orders of the heads by each score, by depth and at random, {name: int (orders, all heads)}.

    scores: {title: table of kind "scores" of heads}, of one model. higher_is_better: of each score.
    Heads are numbered layer by layer. A score has one order, the best head first; equal scores
    come in the order of their numbers. Random order n depends on the seed and n alone.
    """
    orders = {}
    for (title, table), higher in zip(scores.items(), higher_is_better, strict=True):
        value = scores_of_table(table).value.ravel()
        # scores that differ in their last bits alone are equal
        orders[title] = np.argsort(np.round(-value if higher else value, 12), kind="stable")[None]
    total = orders[title].shape[1]
    orders[DEPTH] = np.arange(total)[None]
    orders[RANDOM] = np.array(
        [np.random.default_rng([seed, n]).permutation(total) for n in range(random_orders)]
    )
    return orders


def resolve_counts(head_counts: Sequence[int | float], total: int) -> list[int]:
    """How many heads come first at each point of a curve, increasing, from 1 to below `total`.

    head_counts: whole numbers of heads and shares of all heads. Those that a decoder of `total`
    heads does not have are left out, and 1 is always there.
    """
    counts = {c if isinstance(c, int) else round(c * total) for c in head_counts}
    return sorted({1, *(count for count in counts if 0 < count < total)})


def first_heads(order: np.ndarray, count: int) -> np.ndarray:
    """Which heads are among the first `count` of an order, bool (all heads,)."""
    first = np.zeros(len(order), bool)
    first[order[:count]] = True
    return first


def ablated_sets(orders: Mapping[str, np.ndarray], counts: Iterable[int]) -> np.ndarray:
    """Every set of heads that a curve of an order takes away, each once, bool (sets, all heads).

    The set of all heads, which all curves share, is one of them; the empty set is not.
    """
    first = [
        first_heads(order, count)
        for several in orders.values()
        for order in several
        for count in counts
    ]
    first = np.array(first)
    everything = np.ones((1, first.shape[1]), bool)
    return np.unique(np.concatenate([first, ~first, everything]), axis=0)

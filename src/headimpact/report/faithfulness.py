"""How much of what a model reads in images the first heads of an order carry: curves and areas."""

from collections.abc import Mapping, Sequence

import numpy as np
import pandas as pd

from headimpact.guards import UserError
from headimpact.scores.attention import pack
from headimpact.scores.head_orders import first_heads
from headimpact.scores.interventions import outcome_values
from headimpact.statistics import percentile_interval, resample

# what is measured of each outcome that the key faithfulness.outcomes names
EFFECTS = {"description": "log_probability", "question": "margin"}
CURVES = ("faithfulness", "completeness")
DRAWS = 1000  # of the images, with replacement
TOLERANCE = 1e-4  # by which a value may leave 0..1 because of floating-point arithmetic


def curves_of_model(
    rows: pd.DataFrame,
    orders: Mapping[str, np.ndarray],
    counts: Sequence[int],
    outcomes: Sequence[str],
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The curves of every order of a model's heads, and the areas under them.

    rows: a table of kind "interventions" with every set of `ablated_sets` in each item, one item
    an image. orders: {name: int (orders, all heads)}; the values
    of several orders are averaged. counts: as of `resolve_counts`. outcomes: keys of EFFECTS.

    Faithfulness at k is (m(all but the first k ablated) - floor) / (ceiling - floor), and
    completeness (m(the first k ablated) - floor) / (ceiling - floor), where m is the mean of the
    outcome over items, the floor is m with all heads ablated, and the ceiling m with none. Both are
    nan if the ceiling is not above the floor.

    The first table has a row for each k: variant, outcome, score, curve, k, value, low, high,
    lowest, highest, mean. low and high are the interval of the value, from images drawn with
    replacement while the orders stay; lowest and highest are the values of single orders; mean is
    m. The second has a row for each curve: variant, outcome, score, curve; items, how many there
    are; floor, ceiling; area, the mean height over log2 k from 1 to the number of heads, of values
    clipped to 0..1; low, high, lowest and highest of the area; clipped, how many of the `values`
    measured ones that changed; heads_for_80 and heads_for_90, the smallest k whose reads alone keep
    that share, or without which no more than the rest of it is left.
    Raises UserError if a set of heads has no row.
    """
    curves, areas = [], []
    for variant, of_variant in rows.groupby("variant", sort=False):
        for outcome in outcomes:
            effect = EFFECTS[outcome]
            means = _resampled_means(of_variant, outcome_values(of_variant, effect))
            items = of_variant["object_id"].nunique()
            for name, several in orders.items():
                for curve in CURVES:
                    labels = {"variant": variant, "outcome": effect, "score": name, "curve": curve}
                    points, area = _curve(means, several, counts, curve)
                    curves.append(pd.DataFrame({**labels, **points}))
                    areas.append({**labels, "items": items, **area})
    return pd.concat(curves, ignore_index=True), pd.DataFrame(areas).astype(
        {"heads_for_80": "Int64", "heads_for_90": "Int64"}
    )


def _resampled_means(rows: pd.DataFrame, outcome: np.ndarray) -> dict[bytes, np.ndarray]:
    """{ablated heads: means over items, (1 + DRAWS,)}: all items first, then drawn ones.

    outcome: of each row. An item is an image, so that items are drawn, the same for all sets.
    """
    table = rows.assign(outcome=outcome).pivot(
        index="object_id", columns="ablated", values="outcome"
    )
    values = table.to_numpy()
    drawn = resample(values, DRAWS, np.random.default_rng(0))
    sums = np.concatenate([values.sum(0, keepdims=True), drawn])
    return dict(zip(table.columns, (sums / len(values)).T, strict=True))


def _curve(
    means: Mapping[bytes, np.ndarray], orders: np.ndarray, counts: Sequence[int], curve: str
) -> tuple[dict, dict]:
    """The columns of a curve's points, and the row of its area, see `curves_of_model`."""
    total = orders.shape[1]
    ks = [0, *counts, total]
    floor, ceiling = _mean(means, np.ones(total, bool)), _mean(means, np.zeros(total, bool))
    gain = np.where(ceiling > floor, ceiling - floor, np.nan)
    first = np.array([[first_heads(order, k) for k in ks] for order in orders])
    ablated = ~first if curve == "faithfulness" else first
    # (orders, ks, 1 + DRAWS)
    measured = np.array([[_mean(means, heads) for heads in of_order] for of_order in ablated])
    shares = (measured - floor) / gain
    points = {"k": ks, **_summarise(shares, "value"), "mean": measured[..., 0].mean(0)}
    heights = shares.clip(0, 1)
    areas = np.trapezoid(heights[:, 1:], np.log2(ks[1:]), axis=1) / np.log2(total)
    carried = shares[..., 0].mean(0)
    carried = carried if curve == "faithfulness" else 1 - carried
    area = {
        "floor": floor[0],
        "ceiling": ceiling[0],
        **_summarise(areas, "area"),
        "clipped": int((np.abs(shares - heights)[..., 0] > TOLERANCE).sum()),
        "values": len(orders) * len(counts),
        "heads_for_80": _fewest_heads(carried, ks, 0.8),
        "heads_for_90": _fewest_heads(carried, ks, 0.9),
    }
    return points, area


def _mean(means: Mapping[bytes, np.ndarray], ablated: np.ndarray) -> np.ndarray:
    """The means of a set of heads, bool (all heads,); UserError if there are none."""
    (bits,) = pack(ablated)
    if bits not in means:
        raise UserError(
            "curves: a set of heads that the scores name was not measured; delete the model's "
            "folder curves and run again"
        )
    return means[bits]


def _summarise(values: np.ndarray, name: str) -> dict[str, np.ndarray]:
    """Mean over orders of all items, its interval, and the range of the orders.

    values: (orders, ..., 1 + DRAWS). name: of the mean. An interval is nan if a draw is nan, and
    the range is nan if there is one order.
    """
    of_all, mean = values[..., 0], values.mean(0)
    low, high = percentile_interval(mean[..., 1:])
    several = len(values) > 1
    return {
        name: mean[..., 0][()],
        "low": low,
        "high": high,
        "lowest": of_all.min(0) if several else np.full(low.shape, np.nan)[()],
        "highest": of_all.max(0) if several else np.full(low.shape, np.nan)[()],
    }


def _fewest_heads(carried: np.ndarray, ks: Sequence[int], share: float) -> int | None:
    """The smallest k of those measured at which at least that share is carried; None for nan."""
    enough = np.round(carried, 9) >= share
    return ks[int(enough.argmax())] if enough.any() else None

"""Curves of faithfulness and completeness, from outcomes whose curves are known."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from headimpact.guards import UserError
from headimpact.report.faithfulness import curves_of_model
from headimpact.report.figure7 import HEIGHTS, figure7
from headimpact.scores.attention import pack
from headimpact.scores.head_orders import DEPTH, RANDOM, ablated_sets

HEADS = 8
COUNTS = [1, 2, 4]
BEST_FIRST = np.arange(HEADS)[None]
ORDERS = {"s": BEST_FIRST, "reversed": BEST_FIRST[:, ::-1]}


def rows(outcome, orders=ORDERS, items=6, variant="renormalise", counts=COUNTS):
    """Interventions whose outcomes are `outcome(item, which heads read the image)`, all two.

    The margin is the outcome plus one.
    """
    sets = np.concatenate([np.zeros((1, HEADS), bool), ablated_sets(orders, counts)])
    tables = []
    for item in range(items):
        values = np.array([outcome(item, ~ablated) for ablated in sets], float)
        table = {"object_id": 10 + item, "variant": variant, "ablated": pack(sets)}
        table |= {"layers": 2, "heads": HEADS // 2, "log_probability": values, "answer": "B"}
        table |= {"log_A": -2.0, "log_B": values - 1, "log_C": -4.0, "log_D": -3.0}
        tables.append(pd.DataFrame(table))
    return pd.concat(tables, ignore_index=True)


def curves(outcome, orders=ORDERS, outcomes=("description",), counts=COUNTS, **options):
    table = rows(outcome, orders, counts=counts, **options)
    return curves_of_model(table, orders, counts, outcomes)


def values(table, score, curve, column="value"):
    chosen = table[(table["score"] == score) & (table["curve"] == curve)]
    return chosen[column].tolist()


def area_of(table, score, curve):
    (row,) = table[(table["score"] == score) & (table["curve"] == curve)].to_dict("records")
    return row


def share_of_weight(item, reads):
    """Heads carry 1/2, 1/4, 1/8 and so on of the outcome, which is -10 without any."""
    return -10 + (1 + item) * (0.5 ** np.arange(1, HEADS + 1) * reads).sum()


def test_curves_of_an_additive_outcome_are_the_shares_of_the_heads():
    points, _ = curves(share_of_weight)
    total = 1 - 0.5**HEADS
    kept = [0, 0.5 / total, 0.75 / total, (1 - 0.5**4) / total, 1]
    assert values(points, "s", "faithfulness", "k") == [0, 1, 2, 4, 8]
    assert values(points, "s", "faithfulness") == pytest.approx(kept)
    assert values(points, "s", "completeness") == pytest.approx([1 - x for x in kept])
    assert values(points, "reversed", "faithfulness")[1] == pytest.approx(0.5**8 / total)


def test_ends_are_nothing_and_everything_of_both_curves():
    points, areas = curves(share_of_weight)
    for score in ORDERS:
        kept, lost = (values(points, score, c) for c in ("faithfulness", "completeness"))
        assert (kept[0], kept[-1], lost[0], lost[-1]) == (0, 1, 1, 0)
    row = area_of(areas, "s", "faithfulness")
    assert row["floor"] == pytest.approx(-10)
    assert row["ceiling"] == pytest.approx(-10 + 3.5 * (1 - 0.5**HEADS))  # items weigh 1 to 6
    assert row["items"] == 6


def test_a_planted_head_alone_gives_everything_to_the_order_that_has_it_first():
    points, areas = curves(lambda item, reads: float(reads[0]))
    assert values(points, "s", "faithfulness") == [0, 1, 1, 1, 1]
    assert values(points, "s", "completeness") == [1, 0, 0, 0, 0]
    assert values(points, "reversed", "faithfulness") == [0, 0, 0, 0, 1]
    first, last = (area_of(areas, s, "faithfulness") for s in ORDERS)
    assert (first["area"], first["heads_for_80"], first["heads_for_90"]) == (1, 1, 1)
    assert (last["heads_for_80"], last["heads_for_90"]) == (8, 8)


def test_the_area_is_the_mean_height_over_the_logarithm_of_k():
    heights = {0: 0, 1: 0.2, 2: 0.4, 4: 1, 8: 1}
    _, areas = curves(lambda item, reads: heights.get(reads.sum(), 0.7))
    area = area_of(areas, "s", "faithfulness")["area"]
    assert area == pytest.approx((0.3 + 0.7 + 1) / 3)  # 1 to 2, 2 to 4 and 4 to 8 are as wide


def test_the_fewest_heads_are_the_smallest_k_that_was_measured():
    # 4 of 8 heads keep 85 %, and without 2 of them 15 % are left
    heights = {0: 0, 1: 0.2, 2: 0.4, 4: 0.85, 6: 0.15, 7: 0.5, 8: 1}
    _, areas = curves(lambda item, reads: heights[reads.sum()], {"s": BEST_FIRST})
    kept, lost = (area_of(areas, "s", c) for c in ("faithfulness", "completeness"))
    assert (kept["heads_for_80"], kept["heads_for_90"]) == (4, 8)
    assert (lost["heads_for_80"], lost["heads_for_90"]) == (2, 8)


def test_values_outside_0_to_1_are_clipped_for_the_area_alone_and_counted():
    heights = {0: 0, 1: -3, 2: 1.5, 4: 0.5, 8: 1}
    points, areas = curves(lambda item, reads: heights.get(reads.sum(), 0.5), {"s": BEST_FIRST})
    assert values(points, "s", "faithfulness") == [0, -3, 1.5, 0.5, 1]
    row = area_of(areas, "s", "faithfulness")
    assert (row["clipped"], row["values"]) == (2, 3)
    assert row["area"] == pytest.approx((0.5 + 0.75 + 0.75) / 3)
    assert area_of(areas, "s", "completeness")["clipped"] == 0


def test_a_ratio_of_means_and_not_a_mean_of_ratios():
    # of two images, one gains 1 from the best head and one gains 9 from the others
    def outcome(item, reads):
        return float(reads[0]) if item == 0 else 9 * float(reads[1:].all())

    points, _ = curves(outcome, {"s": BEST_FIRST}, items=2)
    assert values(points, "s", "faithfulness")[1] == pytest.approx(0.1)


def test_the_margin_is_the_right_label_minus_the_best_wrong_one():
    points, areas = curves(share_of_weight, outcomes=("description", "question"))
    assert points["outcome"].unique().tolist() == ["log_probability", "margin"]
    floors = areas.groupby("outcome")["floor"].first()
    assert floors["margin"] == pytest.approx(floors["log_probability"] + 1)


def test_variants_have_curves_of_their_own():
    both = [rows(share_of_weight), rows(lambda item, reads: float(reads[0]), variant="mean")]
    points, _ = curves_of_model(pd.concat(both), ORDERS, COUNTS, ["description"])
    of_variant = dict(list(points.groupby("variant")))
    assert values(of_variant["mean"], "s", "faithfulness")[1] == 1
    assert values(of_variant["renormalise"], "s", "faithfulness")[1] == pytest.approx(0.5, abs=0.01)


def noisy(item, reads):
    own = np.random.default_rng(item).uniform(0, 1, HEADS)
    return (own * reads).sum()


def test_intervals_hold_the_value_and_shrink_with_the_images():
    few, few_areas = curves(noisy, {"s": BEST_FIRST}, items=10)
    many, many_areas = curves(noisy, {"s": BEST_FIRST}, items=160)
    for of_few, of_many in ((few[few["k"] == 2], many[many["k"] == 2]), (few_areas, many_areas)):
        widths = [(t["high"] - t["low"]).mean() for t in (of_few, of_many)]
        assert 0 < 2.5 * widths[1] < widths[0]
    inner = few[few["k"].between(1, 4)]
    assert (inner["low"] < inner["value"]).all() and (inner["value"] < inner["high"]).all()
    assert (few_areas["low"] < few_areas["area"]).all()
    assert (few_areas["area"] < few_areas["high"]).all()


def test_random_orders_are_averaged_and_their_range_is_given():
    orders = {"s": BEST_FIRST, RANDOM: np.concatenate([BEST_FIRST, BEST_FIRST[:, ::-1]])}
    points, areas = curves(lambda item, reads: float(reads[0]), orders)
    assert values(points, RANDOM, "faithfulness") == [0, 0.5, 0.5, 0.5, 1]
    assert values(points, RANDOM, "faithfulness", "lowest") == [0, 0, 0, 0, 1]
    assert values(points, RANDOM, "faithfulness", "highest") == [0, 1, 1, 1, 1]
    row = area_of(areas, RANDOM, "faithfulness")
    assert (row["lowest"], row["highest"], row["values"]) == (pytest.approx(1 / 6), 1, 6)
    assert row["area"] == pytest.approx((1 + 1 / 6) / 2)
    assert np.isnan(area_of(areas, "s", "faithfulness")["lowest"])


def test_without_a_gain_from_the_image_there_is_no_value():
    points, areas = curves(lambda item, reads: -float(reads.sum()))
    assert points["value"].isna().all() and areas["area"].isna().all()
    assert areas["heads_for_80"].isna().all()
    assert figure7(points.assign(model="M")).axes  # panels without values


def test_a_set_of_heads_that_was_not_measured_is_named():
    table = rows(share_of_weight, {"s": BEST_FIRST})
    with pytest.raises(UserError, match="not measured; delete"):
        curves_of_model(table, ORDERS, COUNTS, ["description"])


def test_figure7_has_a_panel_for_each_model_outcome_and_curve():
    orders = {**ORDERS, DEPTH: BEST_FIRST, RANDOM: np.concatenate([BEST_FIRST] * 2)}
    points, _ = curves(share_of_weight, orders, outcomes=("description", "question"))
    figure = figure7(pd.concat([points.assign(model="A"), points.assign(model="B")]))
    assert len(figure.axes) == 4 * 2
    titles = [ax.get_title() for ax in figure.axes[:2]]
    assert titles == ["A\nrenormalise", "B\nrenormalise"]
    labels = [ax.get_ylabel() for ax in figure.axes[::2]]
    assert labels[:2] == ["description:\nfaithfulness", "description:\ncompleteness"]
    ax = figure.axes[0]
    assert ax.get_xscale() == "log" and ax.get_ylim() == HEIGHTS
    assert len(ax.collections) == 1  # the band of the random orders
    lines = {line.get_label(): line for line in ax.get_lines()}
    x, y = lines["s"].get_data()
    assert list(x) == [1, 2, 4, 8]
    assert (
        list(y) == values(points[points["outcome"] == "log_probability"], "s", "faithfulness")[1:]
    )
    assert lines[DEPTH].get_linestyle() == "--"
    assert len({to_hex(lines[name].get_color()) for name in orders}) == 4


def test_twenty_scores_have_a_line_each_that_no_other_has():
    orders = {f"s{n}": BEST_FIRST for n in range(20)} | {DEPTH: BEST_FIRST}
    points, _ = curves(share_of_weight, orders)
    lines = figure7(points.assign(model="M")).axes[0].get_lines()
    styles = {
        line.get_label(): (to_hex(line.get_color()), line._dash_pattern)
        for line in lines
        if line.get_label() in orders
    }
    assert len(styles) == len(set(map(str, styles.values()))) == 21

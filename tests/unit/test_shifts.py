"""Paired shifts of simulated answers."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats
from simulated_runs import ALL_METRICS, BASE, METRICS, RUNS, items, row, shifts_of, simulated

from headimpact.guards import UserError
from headimpact.report.shifts import (
    RANK_COLUMNS,
    SHIFT_COLUMNS,
    shifts_markdown,
    table4_shifts,
    top_ranks,
)


def test_shifts_of_perplexity_are_differences_of_losses_by_hand():
    shifts = shifts_of(RUNS)
    assert list(shifts.columns) == SHIFT_COLUMNS
    top = row(shifts, "original", "top", "original")
    assert top["shift"] == pytest.approx(-0.25)
    error = np.std([0.1, 0.2, 0.3, 0.4], ddof=1) / 2
    assert top["standard_error"] == pytest.approx(error)
    assert top["high"] == pytest.approx(-0.25 + scipy.stats.t.ppf(0.975, 3) * error)
    assert top["p_value"] == 2 / 2**4  # only all signs as they are, and all others
    assert (top["unit"], top["layers"], top["images"]) == ("nats a token", "0, 1", 4)
    random = row(shifts, "original", "random", "original")
    assert random["shift"] == pytest.approx(0.2) and random["draws"] == 2
    assert pd.isna(random["layers"])  # the draws have different ones
    # The draws' means are -0.1 and 0.5, and no item differs from another.
    assert random["standard_error"] == pytest.approx(np.sqrt(0.18 / 2))
    assert row(shifts, "top", "top", "random")["shift"] == pytest.approx(-0.45)


def test_every_draw_is_a_row_with_its_layers():
    shifts = shifts_of(RUNS)
    draws = [row(shifts, "draw", "random", "original", draw) for draw in (0, 1)]
    assert [draw["shift"] for draw in draws] == pytest.approx([-0.1, 0.5])
    assert [draw["layers"] for draw in draws] == ["5, 6", "5, 7"]
    assert {draw["draws"] for draw in draws} == {1}
    assert "top" not in set(shifts.query("comparison == 'draw'")["setup"])


def test_the_largest_absolute_shift_is_compared_with_the_runner_up():
    shifts = shifts_of(RUNS | {"full": items(BASE + np.array([0.3, 0.3, 0.6, 0.4]))})
    largest = row(shifts, "largest", "full", "top")
    # 0.4 upwards and 0.25 downwards; the items differ by 0.2, 0.1, 0.3 and 0.
    assert largest["shift"] == pytest.approx(0.15)
    assert largest["standard_error"] == pytest.approx(np.std([0.2, 0.1, 0.3, 0], ddof=1) / 2)
    assert shifts["comparison"].eq("largest").sum() == 1


def test_holm_counts_the_comparisons_of_means_with_original_and_of_top_layers():
    shifts = shifts_of(RUNS, ALL_METRICS)
    for _, family in shifts.groupby("metric"):
        corrected = family[family["comparison"].isin(["original", "top"])]
        assert len(corrected) == 3
        smallest = corrected.loc[corrected["p_value"].idxmin()]
        assert smallest["p_holm"] == pytest.approx(min(3 * smallest["p_value"], 1))
        assert family.drop(corrected.index)["p_holm"].isna().all()


def test_two_top_setups_are_compared_once():
    runs = RUNS | {"full": items(BASE)}
    pairs = shifts_of(runs, tops=("top", "full")).query("comparison == 'top'")
    assert pairs[["setup", "against"]].to_numpy().tolist() == [
        *(["top", "random"], ["top", "full"], ["full", "random"])
    ]


def test_a_variant_is_compared_with_the_model_as_it_is():
    runs = {("original", "default", 0): items(BASE), ("top", "default", 0): items(BASE - 0.1)}
    runs |= {("top", "fast", 0): items(BASE - 0.7)}
    shifts = table4_shifts({"M": runs}, METRICS, {"M": {("top", 0): [1]}}, ["top"])
    assert shifts["variant"].tolist() == ["default", "fast"]
    assert shifts["shift"].tolist() == pytest.approx([-0.1, -0.7])
    text = shifts_markdown(shifts, top_ranks(shifts, []), METRICS)
    assert "| top against original | -0.100 (" in text
    assert "| top (fast) against original | -0.700 (" in text


def test_the_order_of_items_and_runs_does_not_matter():
    shuffled = RUNS | {
        "top": RUNS["top"].iloc[::-1],
        "random": [RUNS["random"][0].iloc[[2, 0, 1, 3]], RUNS["random"][1]],
    }
    pd.testing.assert_frame_equal(shifts_of(RUNS), shifts_of(shuffled))
    runs = {("random", "default", 1): RUNS["random"][1], ("random", "default", 0): RUNS["top"]}
    runs |= {("original", "default", 0): RUNS["original"]}
    layers = {("random", draw): [draw] for draw in (0, 1)}
    shifts = table4_shifts({"M": runs}, METRICS, {"M": layers}, [])
    assert row(shifts, "draw", "random", "original", 1)["shift"] == pytest.approx(0.5)


def test_runs_of_other_items_are_refused():
    with pytest.raises(UserError, match=r"^M: its runs were evaluated on other items; "):
        shifts_of(RUNS | {"full": items(BASE).assign(object_id=range(1, 5))})


def test_a_study_without_original_has_its_top_layers_compared():
    shifts = shifts_of({"top": RUNS["top"], "full": RUNS["original"]})
    assert shifts["comparison"].tolist() == ["top"]
    alone = shifts_of({"original": RUNS["original"]})
    assert alone.empty and list(alone.columns) == SHIFT_COLUMNS
    assert list(top_ranks(alone, [("top", "random", True)]).columns) == RANK_COLUMNS


def test_a_planted_difference_is_found_and_a_null_one_is_not():
    shifts = shifts_of(simulated(planted=-0.1), ALL_METRICS)
    shifts = shifts[shifts["p_holm"].notna()].set_index(["metric", "setup", "against"])
    assert (shifts["images"] == 100).all() and (shifts["items"] == 200).all()
    for metric in ("Perplexity", "Log-odds"):
        found = shifts.loc[metric][["p_holm", "low", "high"]]
        for against in ("original", "full", "random"):
            p_holm, low, high = found.loc[("top", against)]
            assert p_holm < 0.01 and low * high > 0
        for setup in ("full", "random"):
            p_holm, low, high = found.loc[(setup, "original")]
            assert p_holm > 0.05 and low < 0 < high
    # The accuracy is 1 whatever the setup does.
    assert (shifts.loc["Accuracy"]["p_value"] == 1).all()


def test_a_shift_of_the_draws_mean_is_as_uncertain_as_the_draws_differ():
    apart = row(shifts_of(simulated(0, spread=0.3)), "original", "random", "original")
    alike = row(shifts_of(simulated(0)), "original", "random", "original")
    assert apart["high"] - apart["low"] > 5 * (alike["high"] - alike["low"])


def test_setups_that_shift_alike_are_found_to_differ_as_often_as_the_level():
    rng, found, base = np.random.default_rng(3), 0, np.full(8, 2.0)
    for _ in range(200):
        runs = {name: items(base + 0.5 + rng.normal(0, 0.1, 8)) for name in ("one", "two")}
        shifts = shifts_of(runs | {"original": items(base)})
        found += float(shifts.query("comparison == 'largest'")["p_value"].iloc[0]) < 0.05
    assert 0.01 < found / 200 < 0.09


def test_the_markdown_shows_means_with_their_intervals_and_no_single_draw():
    shifts = shifts_of(RUNS)
    text = shifts_markdown(shifts, top_ranks(shifts, [("top", "random", False)]), METRICS)
    lines = [line for line in text.splitlines() if line.startswith("| log perplexity")]
    assert len(lines) == 3 and "## M" in text
    top = row(shifts, "original", "top", "original")
    assert lines[0] == (
        "| log perplexity (nats a token) | top against original | "
        f"-0.250 ({top['low']:+.3f} to {top['high']:+.3f}) | 0.375 |"
    )
    assert "| top | 2 of 3 among random's draws | 2 | – |" in text
    assert "Rank" not in shifts_markdown(shifts, top_ranks(shifts, []), METRICS)

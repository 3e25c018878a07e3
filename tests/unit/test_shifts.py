"""Paired shifts of simulated answers, the mark in Table 4, and ranks among random draws."""

import numpy as np
import pandas as pd
import pytest
import scipy.stats

from headimpact.evaluation.metrics import load_metrics
from headimpact.guards import UserError
from headimpact.report.shifts import (
    RANK_COLUMNS,
    SHIFT_COLUMNS,
    shifts_markdown,
    table4_shifts,
    top_ranks,
)
from headimpact.report.table4 import table4, table4_markdown

METRICS = load_metrics({"perplexity": {"kind": "perplexity", "options": {}}})
ALL_METRICS = load_metrics(
    {name: {"kind": name, "options": {}} for name in ("accuracy", "perplexity", "log_odds")}
)
LAYERS = {"top": [0, 1], "full": [0, 1, 2], "original": []}


def items(losses, images=None, odds=0.0):
    """Test items of two tokens with these losses a token, and these log-odds of the right label."""
    losses = np.asarray(losses, dtype=float)
    table = pd.DataFrame(
        {
            "sample_id": range(len(losses)) if images is None else images,
            "object_id": range(len(losses)),
            "log_probability": -2 * losses,
            "tokens": 2,
            "answer": "B",
        }
    )
    logs = {f"log_{label}": -np.log(3) for label in "ACD"} | {"log_B": odds}
    return table.assign(**logs)


def shifts_of(runs, metrics=METRICS, tops=("top",), layers=None):
    """The shifts of a model M, from {setup: items, or a list of them, a draw each}."""
    runs = {
        (setup, "default", draw): table
        for setup, draws in runs.items()
        for draw, table in enumerate(draws if isinstance(draws, list) else [draws])
    }
    layers = layers or {(setup, draw): LAYERS.get(setup, [5, 6 + draw]) for setup, _, draw in runs}
    return table4_shifts({"M": runs}, metrics, {"M": layers}, tops)


def row(shifts, comparison, setup, against, draw=None):
    """The only row of a comparison."""
    chosen = shifts.query("comparison == @comparison and setup == @setup and against == @against")
    chosen = chosen[chosen["draw"].isna() if draw is None else chosen["draw"] == draw]
    assert len(chosen) == 1
    return chosen.iloc[0]


BASE = np.array([1.0, 2.0, 1.5, 2.5])
RUNS = {
    "original": items(BASE),
    "top": items(BASE - [0.1, 0.2, 0.3, 0.4]),
    "random": [items(BASE - 0.1), items(BASE + 0.5)],
}


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


def simulated(planted, spread=0.0, images=100, planted_in_full=0.0):
    """Runs on images of two items: `full` does what the original does, but for noise."""
    rng, image = np.random.default_rng(0), np.repeat(np.arange(images), 2)
    base = 2 + rng.normal(0, 1, images)[image] + rng.normal(0, 0.3, len(image))

    def run(effect):
        noise = rng.normal(0, 0.1, images)[image] + rng.normal(0, 0.1, len(image))
        return items(base + effect + noise, image, odds=3 - 3 * (effect + noise))

    return {
        "original": run(0),
        "top": run(planted),
        "full": run(planted_in_full),
        "random": [run(draw * spread) for draw in (-1, 0, 1)],
    }


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


def markdown(runs, **changes):
    """Table 4's row of perplexity in Markdown; changes: of columns of the table of shifts."""
    answers = {
        "M": {
            (setup, "default", draw): table
            for setup, draws in runs.items()
            for draw, table in enumerate(draws if isinstance(draws, list) else [draws])
        }
    }
    shifts = shifts_of(runs).assign(**changes)
    text = table4_markdown(table4(answers, METRICS), METRICS, shifts)
    assert text.splitlines()[-1].startswith("Bold: the largest shift from original. †: ")
    return text.splitlines()[2]


def test_the_largest_shift_has_a_mark_if_it_is_larger_than_the_runner_ups():
    runs = simulated(planted=-0.1)
    cells = markdown(runs).split("|")
    assert cells[4].endswith("** † ")  # model, metric, original, top
    assert "†" not in "".join([*cells[:4], *cells[5:]])
    assert "†" not in markdown(runs, p_value=0.05) and "†" not in markdown(runs, low=0.0)
    assert "†" not in markdown(runs, variant="fast")


def test_a_largest_shift_that_is_not_larger_than_the_runner_ups_has_no_mark():
    for runs in (simulated(planted=0.0), simulated(planted=0.1, planted_in_full=0.1)):
        line = markdown(runs)
        assert line.count("**") == 2 and "†" not in line


def test_setups_that_shift_alike_are_found_to_differ_as_often_as_the_level():
    rng, found, base = np.random.default_rng(3), 0, np.full(8, 2.0)
    for _ in range(200):
        runs = {name: items(base + 0.5 + rng.normal(0, 0.1, 8)) for name in ("one", "two")}
        shifts = shifts_of(runs | {"original": items(base)})
        found += float(shifts.query("comparison == 'largest'")["p_value"].iloc[0]) < 0.05
    assert 0.01 < found / 200 < 0.09


def test_equal_largest_shifts_have_no_mark():
    runs = simulated(planted=-0.1)
    runs["full"] = runs["top"]
    line = markdown(runs, p_value=0.0, low=0.1)
    assert line.count("**") == 4 and "†" not in line


def test_a_setup_that_shifts_most_in_logarithms_alone_has_no_mark():
    # From exp(1), a loss of 0.5 less is 1.1 of perplexity, and 0.4 more is 1.3.
    noise = np.linspace(-0.01, 0.01, 20)
    runs = {name: items(1 + 0 * noise + x) for name, x in (("original", 0), ("full", 0.4))}
    runs["top"] = items(0.5 + noise)
    largest = row(shifts_of(runs), "largest", "top", "full")
    assert largest["p_value"] < 0.05 and largest["low"] > 0
    line = markdown(runs)
    assert "**4.06" in line and "†" not in line


def test_a_largest_shift_whose_draws_differ_much_has_no_mark():
    runs = simulated(planted=0.0)
    draws = [simulated(planted)["top"] for planted in (0.0, -0.6, -0.1)]
    del runs["random"]
    line = markdown(runs | {"top": draws})
    largest = row(shifts_of(runs | {"top": draws}), "largest", "top", "full")
    assert largest["p_value"] < 0.001 and largest["low"] < 0
    assert "**" in line and "†" not in line


def shift_table(shifts, layers, setup, model="M"):
    """Rows "draw" of a setup with these shifts and layers."""
    return pd.DataFrame(
        {
            **{"model": model, "variant": "default", "metric": "Perplexity", "setup": setup},
            **{"comparison": "draw", "draws": 1, "shift": shifts, "layers": layers},
        }
    )


def test_a_rank_among_random_draws_is_uniform_under_the_null():
    rng, names = np.random.default_rng(1), [str(number) for number in range(20)]
    tables = []
    for model in range(600):
        shifts = rng.normal(0, 0.1, 20)
        tables += [shift_table(shifts[:1], names[:1], "top", model)]
        tables += [shift_table(shifts[1:], names[1:], "random", model)]
    ranks = top_ranks(pd.concat(tables), [("top", "random", True)])
    p_values = ranks["p_value"].to_numpy(dtype=float)
    assert len(p_values) == 600 and (p_values == ranks["rank"]).all()
    counts = np.bincount(np.round(p_values * 20).astype(int), minlength=21)[1:]
    assert counts.sum() == 600 and scipy.stats.chisquare(counts).pvalue > 0.01


def test_ties_count_against_the_top_layers_whose_draw_0_is_used():
    top = shift_table([-0.3, -0.9], "0", "top")
    # Three of the shifts are 0.3 but for the last bit.
    drawn = shift_table([0.3, 0.1 + 0.2, np.nextafter(0.3, 0), -0.5, 0.2], list("abcde"), "random")
    (rank,) = top_ranks(pd.concat([drawn, top]), [("top", "random", True)]).itertuples()
    assert (rank.at_least_as_large, rank.draws, rank.rank) == (4, 5, 5 / 6)
    text = shifts_markdown(shifts_of(RUNS), pd.DataFrame([rank]), METRICS)
    assert "| top | 5 of 6 among random's draws | 5 | – |" in text


def test_a_rank_is_a_p_value_only_among_19_different_draws_that_could_be_the_tops():
    top, names = shift_table([1.0], "0", "top"), [str(number) for number in range(19)]
    drawn = shift_table(np.linspace(0, 0.9, 20), [*names, "0"], "random")
    for table, is_null, expected in (
        (drawn, True, 1 / 21),
        (drawn, False, None),
        (drawn.assign(layers=[*names[1:], "1", "2"]), True, None),
    ):
        (rank,) = top_ranks(pd.concat([top, table]), [("top", "random", is_null)]).itertuples()
        assert rank.rank == 1 / 21 and rank.p_value == expected


def test_a_rank_is_read_from_the_only_draw_of_a_setup():
    shifts = shifts_of(RUNS)
    (rank,) = top_ranks(shifts, [("top", "random", False)]).itertuples()
    assert (rank.at_least_as_large, rank.draws, rank.distinct_layers) == (1, 2, 2)  # 0.25 and 0.5


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

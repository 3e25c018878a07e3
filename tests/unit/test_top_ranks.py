"""Ranks of top layers among random draws."""

import numpy as np
import pandas as pd
import scipy.stats
from simulated_runs import METRICS, RUNS, shifts_of

from headimpact.report.shifts import shifts_markdown, top_ranks


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

"""The mark in Table 4 of a largest shift that is larger than the runner-up's."""

import numpy as np
from simulated_runs import METRICS, items, row, shifts_of, simulated

from headimpact.report.table4 import table4, table4_markdown


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

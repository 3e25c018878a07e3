"""Table 3 and whether its top layers are simply the first ones."""

import itertools

import numpy as np
import pandas as pd
import pytest

from headimpact.report.depth import layers_and_depth, table3_markdown
from headimpact.report.tables import table3

LAYERS = {"M": {("original", 0): [], ("top-2", 0): [0, 2], ("random-2", 0): [1, 2]}}


def score(*values):
    """A table of kind "scores" whose layers have these means over two heads."""
    values = np.array(values)
    rows = {"layer": np.tile(np.arange(len(values)), 2), "head": np.repeat([0, 1], len(values))}
    return pd.DataFrame({"score": "a", **rows, "value": [*(values - 0.1), *(values + 0.1)]})


def test_overlap_counts_the_layers_shared_with_the_top_setup():
    table = table3(LAYERS, "top-2")
    assert table["overlap_with_top"].tolist() == [0, 2, 1]
    assert table3(LAYERS, None)["overlap_with_top"].isna().all()
    assert table3(LAYERS, None).to_csv(index=False).splitlines()[2] == 'M,top-2,0,"0, 2",'


def test_a_row_for_each_top_setup_and_one_for_a_score_that_none_uses():
    scores = {"M": {"a": score(5.0, 3.0, 4.0, 1.0), "b": score(1.0, 2.0, 3.0, 4.0)}}
    layers = {"M": {"top-2": [0, 2], "top-3": [0, 1, 2]}}
    table = layers_and_depth(scores, layers, {"top-2": "a", "top-3": "a"})
    assert table[["score", "setup", "setup_layers"]].fillna("").to_numpy().tolist() == [
        *(["a", "top-2", "0, 2"], ["a", "top-3", "0, 1, 2"], ["b", "", ""])
    ]
    assert table["among_first"].tolist() == [1, 3, pd.NA]
    assert table["rho"].tolist() == pytest.approx([-0.8, -0.8, 1.0])
    assert (table["layers"] == 4).all()


def test_rho_and_p_are_near_those_of_all_orders():
    """Spearman's rho by its definition; the p-value beside the share of orders as extreme."""
    values = [0.9, 0.4, 0.2, 0.5, 0.7, 0.3, 0.1]
    ranks = np.argsort(np.argsort(values))
    orders = np.array(list(itertools.permutations(range(7))))
    correlations = np.abs(1 - 6 * ((orders - np.arange(7)) ** 2).sum(1) / (7 * 48))
    row = layers_and_depth({"M": {"a": score(*values)}}, {}, {}).iloc[0]
    rho = 1 - 6 * ((ranks - np.arange(7)) ** 2).sum() / (7 * 48)
    assert row["rho"] == pytest.approx(rho)
    assert row["p_value"] == pytest.approx((correlations >= abs(rho) - 1e-9).mean(), abs=0.03)


def test_equal_layer_scores_have_no_correlation():
    for values in ([1.0, 1.0, 1.0, 1.0], [1.0, 2.0]):
        row = layers_and_depth({"M": {"a": score(*values)}}, {}, {}).iloc[0]
        assert np.isnan(row["rho"]) and np.isnan(row["p_value"])


@pytest.mark.parametrize(
    ("values", "text"),
    [
        (range(9, 1, -1), "falls with depth (Spearman's rho -1.00 over 8 layers, p below 0.001)"),
        ((1, 4, 2, 3, 5, 6), "rises with depth (Spearman's rho 0.83 over 6 layers, p 0.042)"),
        ((2, 3, 1, 4), "neither clearly falls nor rises with depth (Spearman's rho 0.40 "),
        ((1, 1, 1), "has no rank correlation with depth over 3 layers: top-2"),
    ],
)
def test_the_line_below_table_3_says_what_the_correlation_shows(values, text):
    scores = {"M": {"a": score(*map(float, values))}}
    depth = layers_and_depth(scores, {"M": {"top-2": [0, 2]}}, {"top-2": "a"})
    markdown = table3_markdown(table3(LAYERS, "top-2"), depth, "Head Impact")
    *rows, blank, line = markdown.splitlines()
    assert rows[0] == "| model | setup | draw | layers | overlap_with_top |"
    assert rows[3] == "| M | top-2 | 0 | 0, 2 | 2 |" and blank == ""
    assert line.startswith(f"- M: Head Impact {text}")
    assert line.endswith("top-2 shares 1 of its 2 layers with the first 2.")


def test_without_a_ranking_score_table_3_is_the_table_alone():
    depth = layers_and_depth({}, {}, {"top-2": "a"})
    lines = table3_markdown(table3(LAYERS, None), depth, None).splitlines()
    assert len(lines) == 5 and lines[-1] == "| M | random-2 | 0 | 1, 2 |  |"

"""Table 6: scores side by side, from small tables whose answers are known."""

import numpy as np
import pandas as pd
import pytest

from headimpact.report.table6 import RankedScore, Training, table6, table6_markdown
from headimpact.scores.inputs import Scores, scores_table
from headimpact.statistics import in_second_half


def ranked(values, higher_is_better=True, **fields):
    table = scores_table("name", Scores(np.array(values, float), **fields))
    return RankedScore(table.sample(frac=1, random_state=0), higher_is_better)


HEADS = [[8, 7], [6, 5], [4, 3], [2, 1]]  # falls with depth, layer by layer
REVERSED = [[1, 2], [3, 4], [5, 6], [7, 8]]
TIMES = ["model", "score", "seconds", "seconds_in_passes"]


def row(table, score="other"):
    return table.set_index("score").loc[score]


def test_a_score_agrees_with_the_reference_and_depth_as_its_ranks_do():
    scores = {"M": {"first": ranked(HEADS, cost=30), "other": ranked(REVERSED, cost=2)}}
    table = table6(scores, 2)
    columns = ["rho_reference", "rho_depth", "top_overlap", "passes"]
    assert row(table, "first")[columns].tolist() == pytest.approx([1, -1, 2, 30])
    assert row(table)[columns].tolist() == pytest.approx([-1, 1, 0, 2])


def test_a_score_of_which_lower_is_better_is_turned():
    scores = {"M": {"first": ranked(HEADS), "other": ranked(REVERSED, higher_is_better=False)}}
    assert row(table6(scores, 2))[["rho_reference", "top_overlap"]].tolist() == [
        pytest.approx(1),
        2,
    ]


def test_a_score_of_layers_is_compared_with_the_means_of_heads():
    # the heads' means fall, although their largest values rise
    first = ranked([[9, 9], [10, 0], [11, -9]])
    table = table6({"M": {"first": first, "other": ranked([3, 2, 1])}}, 1)
    assert row(table)["rho_reference"] == pytest.approx(1)
    assert row(table)["unit"] == "layer"


def test_attribution_is_compared_where_it_is_named():
    scores = {"M": {"first": ranked(HEADS), "attribution": ranked(REVERSED)}}
    assert row(table6(scores, 2), "first").isna()["rho_attribution"]
    assert row(table6(scores, 2, "attribution"), "first")["rho_attribution"] == pytest.approx(-1)


def test_split_half_compares_the_scores_of_either_half_of_the_images():
    images = np.arange(6)
    second = in_second_half(images)
    assert second.sum() == 3
    items = np.where(second[:, None], [1.0, 2, 3], [3.0, 2, 1])
    other = ranked(items.mean(0) + np.arange(3), items=items, images=images)
    table = table6({"M": {"first": ranked([3, 2, 1]), "other": other}}, 1)
    assert row(table)["split_half"] == pytest.approx(-1)
    assert row(table, "first").isna()["split_half"]


def test_halves_that_a_score_gives_itself_are_used():
    halves = np.array([[1.0, 2, 3], [10.0, 20, 30]])
    table = table6({"M": {"other": ranked([1, 2, 3], halves=halves)}}, 1)
    assert row(table)["split_half"] == pytest.approx(1)


def test_halves_depend_on_the_images_alone_and_are_as_large():
    images = np.repeat(np.arange(9), 3)
    second = in_second_half(images)
    assert second.reshape(9, 3).all(1).sum() == 4
    assert (in_second_half(images[::-1]) == second[::-1]).all()
    assert (in_second_half(images, seed=1) != second).any()


def test_areas_are_those_of_the_first_variant():
    areas = pd.DataFrame(
        [
            ("M", "log_probability", "renormalise", "other", "faithfulness", 0.9),
            ("M", "log_probability", "mean", "other", "faithfulness", 0.1),
            ("M", "margin", "renormalise", "other", "completeness", 0.3),
            ("M", "log_probability", "renormalise", "depth", "faithfulness", 0.7),
            ("N", "log_probability", "renormalise", "other", "completeness", 0.5),
        ],
        columns=["model", "outcome", "variant", "score", "curve", "area"],
    )
    table = table6({"M": {"other": ranked(HEADS)}}, 1, areas=areas)
    result = row(table)
    assert result["faithfulness_log_probability"] == 0.9
    assert result["completeness_margin"] == 0.3
    assert result.isna()["completeness_log_probability"]
    assert row(table, "depth")[["unit", "faithfulness_log_probability"]].tolist() == ["order", 0.7]


def test_recovery_is_that_of_the_score_s_unit():
    known = pd.DataFrame(
        [("M", "other", "head", 0.25, 0.6), ("M", "other", "layer", 0.5, 0.7)],
        columns=["model", "score", "unit", "found", "area"],
    )
    heads = row(table6({"M": {"other": ranked(HEADS)}}, 1, known=known))
    layers = row(table6({"M": {"other": ranked([1, 2, 3])}}, 1, known=known))
    assert heads[["found", "area"]].tolist() == [0.25, 0.6]
    assert layers[["found", "area"]].tolist() == [0.5, 0.7]


@pytest.fixture
def training():
    columns = ["model", "variant", "comparison", "setup", "metric", "shift", "low", "high"]
    shifts = pd.DataFrame(
        [
            ("M", "default", "original", "top", "Perplexity", -0.2, -0.3, -0.1),
            ("M", "fast", "original", "top", "Perplexity", -0.9, -1.0, -0.8),
            ("M", "default", "top", "top", "Perplexity", -0.7, -0.8, -0.6),
            ("M", "default", "original", "first-2", "Perplexity", -0.1, -0.2, 0.0),
        ],
        columns=columns,
    )
    ranks = pd.DataFrame(
        [
            ("M", "default", "Perplexity", "top", "random", 19, 2),
            ("M", "default", "Perplexity", "top", "near", 9, 0),
            ("M", "default", "Perplexity", "top", "near others", 9, 5),
            ("M", "default", "Accuracy", "top", "random", 19, 7),
        ],
        columns=["model", "variant", "metric", "setup", "against", "draws", "at_least_as_large"],
    )
    return Training(
        shifts,
        ranks,
        setup_of={"other": "top"},
        controls=["first-2"],
        metrics={"Perplexity": "perplexity"},
        ranked="Perplexity",
        drawn={"random": None, "near": "top", "near others": "else"},
    )


def test_trained_layers_have_their_shift_interval_and_ranks(training):
    scores = {"M": {"first": ranked(HEADS), "other": ranked(REVERSED)}}
    table = table6(scores, 2, training=training)
    result = row(table)
    assert result[["perplexity", "perplexity_low", "perplexity_high"]].tolist() == [
        -0.2,
        -0.3,
        -0.1,
    ]
    assert result[["setup", "rank_random", "rank_matched"]].tolist() == [
        "top",
        "3 of 20",
        "1 of 10",
    ]
    assert row(table, "first").isna()[["setup", "perplexity", "rank_random"]].all()


def test_a_control_is_a_row_without_a_score(training):
    result = row(table6({"M": {"other": ranked(REVERSED)}}, 2, training=training), "first-2")
    assert (result["unit"], result["perplexity"]) == ("control", -0.1)
    assert result.isna()[["passes", "rho_depth", "split_half"]].all()


def test_markdown_has_intervals_and_no_empty_columns(training):
    table = table6({"M": {"other": ranked(REVERSED, cost=3)}}, 2, training=training)
    text = table6_markdown(table)
    assert "-0.200 (-0.300 to -0.100)" in text and "| 1 of 10 |" in text
    heading = text.splitlines()[2]
    assert "perplexity low" not in heading and "faithfulness" not in heading
    assert text.count("| other | layer |") == 0 and "| other | head | 3 |" in text


def test_the_time_of_a_score_stands_beside_its_passes():
    times = pd.DataFrame([("M", "other", 12.0, 3.5)], columns=TIMES)
    other = row(table6({"M": {"other": ranked(HEADS, cost=3)}}, 1, times=times))
    assert other[["passes", "seconds", "seconds_in_passes"]].tolist() == [3, 12, 3.5]

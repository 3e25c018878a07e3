"""Tables 1 to 5 of the paper, from small tables whose results are known."""

import math

import numpy as np
import pandas as pd
import pytest

from headimpact.evaluation.metrics import load_metrics
from headimpact.guards import UserError
from headimpact.report import tables
from headimpact.report.shifts import SHIFT_COLUMNS
from headimpact.report.table4 import label_shares, table4_draws, table4_markdown
from headimpact.report.table4 import table4 as table4_of_models

METRICS = load_metrics(
    {
        "accuracy": {"kind": "accuracy", "options": {}},
        "answer_probability": {"kind": "answer_probability", "options": {"share_of": "labels"}},
        "perplexity": {"kind": "perplexity", "options": {}},
    }
)


def items(losses, chosen, answers="ABCD", probabilities=(0.4, 0.2, 0.1, 0.1)):
    """Test items of two tokens with these losses; the chosen label has the largest probability."""
    table = pd.DataFrame(
        {
            "sample_id": range(len(losses)),
            "object_id": range(len(losses)),
            "log_probability": [-loss for loss in losses],
            "tokens": 2,
            "answer": list(answers),
        }
    )
    for number, label in enumerate("ABCD"):
        table[f"log_{label}"] = [
            math.log(max(probabilities) if c == label else probabilities[number] / 2)
            for c in chosen
        ]
    return table


RUNS = {
    ("original", "default", 0): items([2.0, 2.0, 4.0, 4.0], "ABCC"),
    ("random-4", "default", 0): items([2.0, 2.0, 2.0, 2.0], "ABCD"),
    ("random-4", "default", 1): items([4.0, 4.0, 4.0, 4.0], "AAAA"),
}


NO_SHIFTS = pd.DataFrame(columns=SHIFT_COLUMNS)


def table4(runs, metrics=METRICS):
    return table4_of_models({"M": runs}, metrics)


def row(table, metric):
    return table[table["metric"] == metric].iloc[0]


def test_values_and_errors_match_a_calculation_by_hand():
    table = table4(RUNS)
    assert list(table["metric"]) == ["Accuracy", "AnsProb", "Perplexity"]
    accuracy = row(table, "Accuracy")
    # Three of four are right: sqrt(0.25) / sqrt(4)
    assert accuracy["original"] == 0.75
    assert accuracy["original_error"] == pytest.approx(0.25)
    # The losses per token are 1, 1, 2, 2: mean 1.5, s = 0.5774
    perplexity = row(table, "Perplexity")
    assert perplexity["original"] == pytest.approx(np.exp(1.5))
    assert perplexity["original_error"] == pytest.approx(np.exp(1.5) * np.sqrt(1 / 3) / 2)


def test_draws_are_averaged_and_their_spread_adds_to_the_error():
    table = table4(RUNS)
    # The perplexities are e and e^2. Without a spread over items, only that of the draws remains.
    perplexity, values = row(table, "Perplexity"), np.exp([1.0, 2.0])
    assert perplexity["random-4"] == pytest.approx(values.mean())
    assert perplexity["random-4_error"] == pytest.approx(values.std(ddof=1) / np.sqrt(2))
    # The accuracies are 1 and 1/4, and the means of the items 1, 1/2, 1/2, 1/2.
    accuracy = row(table, "Accuracy")
    items_error = np.std([1, 0.5, 0.5, 0.5], ddof=1) / 2
    assert accuracy["random-4"] == pytest.approx(0.625)
    assert accuracy["random-4_error"] == pytest.approx(np.hypot(items_error, 0.75 / 2))


def test_a_variant_is_listed_among_the_draws_but_not_in_table_4():
    runs = {**RUNS, ("random-4", "fast", 0): RUNS["original", "default", 0]}
    pd.testing.assert_frame_equal(table4(runs), table4(RUNS))
    draws = table4_draws({"M": runs}, METRICS)
    assert len(draws) == 12 and draws["variant"].value_counts()["fast"] == 3


def test_runs_of_other_items_are_refused():
    changed = RUNS["original", "default", 0].assign(object_id=range(1, 5))
    with pytest.raises(UserError, match=r"^M: "):
        table4({**RUNS, ("full", "default", 0): changed})


def test_the_order_of_items_does_not_matter():
    reversed_runs = {run: table.iloc[::-1] for run, table in RUNS.items()}
    pd.testing.assert_frame_equal(table4(RUNS), table4(reversed_runs))


def test_draws_are_matched_by_object():
    # In both draws, items 0 and 1 are right and 2 and 3 wrong: s = 0.5774, over 4 items
    draws = {("random-4", "default", draw): items([2.0] * 4, "ABAA") for draw in (0, 1)}
    draws["random-4", "default", 1] = draws["random-4", "default", 1].iloc[::-1]
    error = row(table4(draws), "Accuracy")["random-4_error"]
    assert error == pytest.approx(np.sqrt(1 / 3) / 2)


def test_objects_of_one_image_are_one_cluster():
    # Items 0 and 1 are right, 2 and 3 wrong. The residual sums of the two images are 1 and -1,
    # which gives sqrt(2 * 2) / 4.
    runs = {("full", "default", 0): items([2.0] * 4, "ABAA").assign(sample_id=[5, 5, 6, 6])}
    draws = table4_draws({"M": runs}, METRICS)
    assert row(draws, "Accuracy")["error"] == pytest.approx(0.5)
    assert row(table4(runs), "Accuracy")["full_error"] == pytest.approx(0.5)


def test_the_largest_shift_is_bold_in_markdown():
    text = table4_markdown(table4(RUNS), METRICS, NO_SHIFTS).splitlines()
    assert text[0] == "| model | metric | original | random-4 |"
    assert "| M | Perplexity ↓ | 4.48 ± 1.29 | **5.05 ± " in text[4]
    original = {run: items for run, items in RUNS.items() if run[0] == "original"}
    assert "**" not in table4_markdown(table4(original), METRICS, NO_SHIFTS).splitlines()[2]


def bold(**values):
    """The setups that Table 4 prints in bold in a row with these values."""
    row = {"model": "M", "metric": "Accuracy"}
    for setup, value in values.items():
        row |= {setup: value, f"{setup}_error": 0.01}
    cells = (
        table4_markdown(pd.DataFrame([row]), METRICS, NO_SHIFTS).splitlines()[2].split("|")[3:-1]
    )
    return [setup for setup, cell in zip(values, cells, strict=True) if "**" in cell]


def test_equal_shifts_are_all_bold_and_rounding_errors_are_not():
    assert bold(original=0.9, top=0.5, full=0.8) == ["top"]
    # The paper prints the largest drop in bold; a rise is treated like a drop.
    assert bold(original=0.5, top=0.4, full=0.7) == ["full"]
    # 0.7 - 0.6 and 0.8 - 0.7 differ in the last bit.
    assert bold(original=0.7, top=0.6, full=0.8) == ["top", "full"]
    # The mean of three draws of 0.1 differs from 0.1 in the last bit.
    assert bold(original=0.1, random=np.mean([0.1] * 3)) == []
    assert bold(top=0.4, full=0.7) == []
    assert bold(original=0.5, no_error=0.7) == ["no_error"]


def test_every_draw_has_its_metrics_and_label_shares():
    draws = table4_draws({"M": RUNS}, METRICS)
    assert len(draws) == 9 and set(draws["items"]) == {4}
    shares = label_shares({"M": RUNS}).set_index(["setup", "draw"])
    assert shares.loc[("random-4", 1), "share_A"] == 1
    assert shares.loc[("original", 0), ["share_C", "chance"]].tolist() == [0.5, 0.25]


def test_table2_has_the_papers_layout():
    scores = pd.DataFrame(
        {"layer": [0, 0, 1, 1], "head": [0, 1, 0, 1], "value": [1.0, 2.0, 3.0, 4.0]}
    )
    turned = scores.rename(columns={"layer": "head", "head": "layer"})
    table = tables.table2({"Head Impact": {"M": scores}, "other": {"M": turned}})
    table = table.set_index(["score", "quantity"])
    assert list(table.columns) == ["M layers", "M heads"]
    assert table.loc[("Head Impact", "statistic"), "M layers"] == pytest.approx(2.4)
    assert table.loc[("Head Impact", "degrees_of_freedom")].tolist() == [1, 1]
    assert table.loc[("other", "statistic"), "M heads"] == pytest.approx(2.4)


def test_an_object_that_covers_no_token_is_listed_for_each_model():
    tokens = pd.DataFrame({"object_id": [3, 5], "coverage": [[0.2, 0.5], [0.4, 0.0]]})
    objects = pd.DataFrame({"object_id": [3, 5], "description": ["a cat", "a dot"]})
    listed = tables.uncovered_objects({"M": tokens, "N": tokens}, objects, 0.5)
    assert listed.to_numpy().tolist() == [["M", 5, "a dot"], ["N", 5, "a dot"]]
    assert tables.uncovered_objects({"M": tokens}, objects, 0).empty
    shares = tables.token_coverage({"M": tokens, "N": tokens}, listed[:1], 0.5)
    assert shares["uncovered"].tolist() == [1, 0]
    assert shares["uncovered_share"].tolist() == [0.5, 0.0]


def test_tables_1_3_and_5_have_the_columns_of_the_paper():
    sizes = tables.table1({"M": {"parameters": 2209198592, "layers": 28, "heads": 12}})
    assert list(sizes.columns) == ["model", "parameters", "layers", "attention_heads"]
    assert sizes.iloc[0].tolist() == ["M", 2209198592, 28, 12]
    assert tables.table3({"M": {("top-4", 0): [1, 4, 11]}}, "top-4").iloc[0].tolist() == [
        *("M", "top-4", 0, "1, 4, 11", 3)
    ]
    percent = tables.table5({"M": {"total": 3033479408, "trainable": 352256}})
    assert percent["trainable_percent"].tolist() == [0.0116]

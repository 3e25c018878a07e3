"""What runs learned and forgot: the numbers of forgetting.csv, and where Figure 6 shows them."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from headimpact.evaluation.metrics import load_metrics
from headimpact.guards import UserError
from headimpact.report.figures import save
from headimpact.report.forgetting import changes_of_runs, figure6

METRICS = load_metrics(
    {name: {"kind": name, "options": {}} for name in ("accuracy", "perplexity", "log_odds")}
)
IMAGES = [0, 0, 1, 1, 2]  # of the five test items
LOSSES = np.array([1.0, 2.0, 1.5, 2.5, 0.5])  # of the model as it is, nats a token
ODDS = np.array([3.0, -2.0, 1.0, 0.5, 2.0])  # log-odds of the right label, of the model as it is
LAYERS = {"M": {("top", 0): [0, 3], ("random", 0): [1, 2], ("random", 1): [4, 5]}}


def items(losses, odds):
    """Answers to five items of two tokens each; the three wrong labels share a probability."""
    right = 1 / (1 + np.exp(-np.asarray(odds)))
    table = pd.DataFrame(
        {
            "sample_id": IMAGES,
            "object_id": range(5),
            "log_probability": -2 * np.asarray(losses),
            "tokens": 2,
            "answer": "B",
        }
    )
    wrong = {f"log_{label}": np.log((1 - right) / 3) for label in "ACD"}
    return table.assign(log_B=np.log(right), **wrong)


ANSWERS = {
    ("original", "default", 0): items(LOSSES, ODDS),
    ("top", "default", 0): items(LOSSES - [0.1, 0.2, 0.3, 0.4, 0.5], ODDS - [0, 0, 2, 2, 1]),
    ("top", "fast", 0): items(LOSSES - 0.6, ODDS - 4),
    ("random", "default", 0): items(LOSSES - 0.1, ODDS + 0.5),
    ("random", "default", 1): items(LOSSES + 0.3, ODDS - 4),  # worse in both
    ("random", "fast", 0): items(LOSSES - 0.2, ODDS),
    ("random", "fast", 1): items(LOSSES - 0.3, ODDS),
}
TRAININGS = {
    run: {"learning_rate": {"default": 0.002, "fast": 0.01}[run[1]], "seed": 7 + run[2]}
    for run in ANSWERS
}


def changes(answers=ANSWERS, metrics=METRICS):
    return changes_of_runs({"M": answers}, metrics, LAYERS, TRAININGS)


def panels(figure):
    """{y label's second line: axes} of the figure's first column."""
    return {ax.get_ylabel().splitlines()[1]: ax for ax in figure.axes if ax.get_ylabel()}


def points(ax, colour=None):
    """The points of a panel, or those of a colour, as a set of rounded (x, y)."""
    return {
        tuple(np.round(point, 6))
        for drawn in ax.collections
        if colour in (None, to_hex(drawn.get_facecolor()[0]))
        for point in drawn.get_offsets()
    }


def clustered(differences):
    """Standard error of a mean of five items of the images 0, 0, 1, 1 and 2, by its formula."""
    residuals = np.asarray(differences) - np.mean(differences)
    sums = np.array([residuals[:2].sum(), residuals[2:4].sum(), residuals[4]])
    return np.sqrt(3 / 2 * (sums**2).sum()) / 5


def test_changes_and_their_errors_are_those_of_a_calculation_by_hand():
    table = changes().set_index(["setup", "variant", "draw"])
    top = table.loc[("top", "default", 0)]
    assert top["log_perplexity_change"] == pytest.approx(-0.3)
    assert top["log_perplexity_error"] == pytest.approx(clustered([0.1, 0.2, 0.3, 0.4, 0.5]))
    assert top["log_odds_change"] == pytest.approx(-1)
    assert top["log_odds_error"] == pytest.approx(clustered([0, 0, 2, 2, 1]))
    # The right one of four options is the most probable above log-odds of about -1.1. The model
    # as it is misses the second item; the run misses the fourth item, at -1.5, too.
    assert top["accuracy_change"] == pytest.approx(-0.2)
    assert top["accuracy_error"] == pytest.approx(clustered([0, 0, 0, -1, 0]))


def test_a_run_is_a_row_with_its_layers_learning_rate_and_seed():
    table = changes()
    assert list(table.columns[:7]) == [
        *("model", "setup", "variant", "learning_rate", "draw", "seed", "layers")
    ]
    runs = table[["setup", "variant", "draw"]].itertuples(index=False, name=None)
    assert list(runs) == [run for run in ANSWERS if run[0] != "original"]
    last = table.iloc[-1]
    assert (last["learning_rate"], last["seed"], last["layers"]) == (0.01, 8, "4, 5")


def test_the_order_of_items_does_not_matter():
    shuffled = {run: table.sample(frac=1, random_state=3) for run, table in ANSWERS.items()}
    pd.testing.assert_frame_equal(changes(shuffled), changes())


def test_runs_with_other_items_are_refused():
    with pytest.raises(UserError, match=r"^M: its runs were evaluated on other items"):
        changes(ANSWERS | {("top", "fast", 0): ANSWERS["top", "fast", 0].iloc[1:]})


def test_every_run_is_a_point_in_each_panel_and_no_panel_shows_perplexity_upwards():
    table = changes()
    drawn = panels(figure6(table, METRICS, "perplexity"))
    assert list(drawn) == ["Accuracy (share)", "Log-odds (nats)"]
    for column, ax in zip(("accuracy_change", "log_odds_change"), drawn.values(), strict=True):
        expected = table[["log_perplexity_change", column]].round(6).to_numpy()
        assert points(ax) == {tuple(row) for row in expected}


def test_a_run_that_is_worse_in_both_lies_to_the_right_and_below_of_the_zero_lines():
    for ax in panels(figure6(changes(), METRICS, "perplexity")).values():
        low, high = ax.get_xlim(), ax.get_ylim()
        assert low[0] < 0 < low[1] and high[0] < 0 < high[1]  # neither axis is turned round
        worse = [point for point in points(ax) if point[0] > 0]
        assert len(worse) == 1 and worse[0][1] < 0
        assert "higher is better →" in ax.get_ylabel()
    assert "← lower is better" in ax.get_xlabel()
    assert "log perplexity (nats a token)" in ax.get_xlabel()


def test_a_metric_of_which_less_is_better_says_so():
    figure = figure6(changes(), METRICS, "log_odds")
    assert "← lower is better" in panels(figure)["log perplexity (nats a token)"].get_ylabel()
    assert "higher is better →" in figure.axes[-1].get_xlabel()


def test_a_setup_has_a_colour_and_a_variant_a_shape_and_both_are_explained():
    figure = figure6(changes(), METRICS, "perplexity")
    ax = panels(figure)["Log-odds (nats)"]
    setups, variants = figure.legends
    colours = {entry.get_label(): entry.get_color() for entry in setups.legend_handles}
    assert list(colours) == ["top", "random"]
    assert points(ax, colours["top"]) == {(-0.3, -1.0), (-0.6, -4.0)}
    labels = [text.get_text() for text in variants.get_texts()]
    assert labels == ["learning rate 0.002 (default)", "learning rate 0.01 (fast)"]
    shapes = {entry.get_marker() for entry in variants.legend_handles}
    assert len(shapes) == 2


def test_a_line_joins_the_model_as_it_is_with_the_means_by_learning_rate():
    (*_, line) = panels(figure6(changes(), METRICS, "perplexity"))["Log-odds (nats)"].get_lines()
    assert line.get_xdata() == pytest.approx([0, 0.1, -0.25])  # the means of two draws each
    assert line.get_ydata() == pytest.approx([0, -1.75, 0])
    one_rate = changes().query("variant == 'default'")
    for ax in panels(figure6(one_rate, METRICS, "perplexity")).values():
        assert len(ax.get_lines()) == 2  # the zero lines


def test_colours_are_distinct_for_more_setups_than_the_palette_has():
    table = pd.concat(changes().assign(setup=f"setup {number}") for number in range(12))
    setups, _ = figure6(table, METRICS, "perplexity").legends
    assert len({entry.get_color() for entry in setups.legend_handles}) == 12


def test_a_model_has_a_column_of_its_own_and_the_figure_the_same_bytes_each_time(tmp_path):
    table = pd.concat([changes(), changes().assign(model="N")])
    paths = [tmp_path / "first.svg", tmp_path / "second.svg"]
    for path in paths:
        save(figure6(table, METRICS, "perplexity"), [path])
    figure = figure6(table, METRICS, "perplexity")
    assert [ax.get_title() for ax in figure.axes[:2]] == ["M", "N"]
    assert paths[0].read_bytes() == paths[1].read_bytes()

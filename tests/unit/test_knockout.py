"""Effects of knockouts: the layer score, the numbers of knockout.csv, and Figure 8 of them."""

import numpy as np
import pandas as pd
import pytest
from matplotlib.colors import to_hex

from headimpact import artifacts
from headimpact.guards import UserError
from headimpact.report.figures import save
from headimpact.report.knockout import COLOUR_OF, figure8, knockout_table
from headimpact.scores.inputs import ScoreInputs, scores_table
from headimpact.scores.knockout import knockout, knockout_changes
from headimpact.table_kinds import LABELS

OBJECTS = pd.DataFrame({"object_id": [1, 2, 3], "sample_id": [10, 20, 30]})
# {object: log-probability of a description of two tokens} without a knockout, and the changes of a
# knockout of the ring in three layers
PLAIN = {1: -2.0, 2: -4.0, 3: -6.0}
RING = {1: [-1.0, -2.0, 0.0], 2: [-3.0, 0.0, 0.0], 3: [-2.0, -4.0, 3.0]}
# {object: log-probabilities of A to D}; B is right, and object 3 is answered wrongly
LABEL_LOGS = {1: [-3, -1, -4, -5], 2: [-2.5, -0.5, -2, -4], 3: [-1, -2, -5, -5]}


def row(object_id, outcome, place=(None, None, None), image_tokens=0, **values):
    return {
        "object_id": object_id,
        "outcome": outcome,
        **dict(zip(("rows", "source", "layer"), place, strict=True)),
        "image_tokens": image_tokens,
        **dict.fromkeys(("log_probability", "tokens", "answer")),
        **{f"log_{label}": None for label in LABELS},
        "passes": 0.25,
        **values,
    }


def labels(logs):
    columns = {f"log_{label}": float(log) for label, log in zip(LABELS, logs, strict=True)}
    return {"answer": "B", **columns}


@pytest.fixture
def knockouts(tmp_path):
    """A table of kind "knockouts" as a rule writes it."""
    rows = []
    for item, plain in PLAIN.items():
        rows.append(row(item, "description", log_probability=plain, tokens=2))
        for layer, change in enumerate(RING[item]):
            place = ("description", "object_ring", layer)
            says = {"log_probability": plain + change, "tokens": 2}
            rows.append(row(item, "description", place, 4 + item, **says))
            if item != 2:  # one object is alone in its image
                place = ("description", "other_object", layer)
                rows.append(row(item, "description", place, 9, **says))
        a, b, c, d = LABEL_LOGS[item]
        rows.append(row(item, "question", **labels([a, b, c, d])))
        for layer in range(3):
            place = ("last", "image", layer)
            rows.append(row(item, "question", place, 40, **labels([a, b - layer, c, d])))
    artifacts.write(tmp_path / "rows.parquet", "knockouts", rows)
    return artifacts.read(tmp_path / "rows.parquet", "knockouts")


def score(knockouts, **options):
    options = {"outcome": "description", "rows": "description", "source": "object_ring", **options}
    inputs = ScoreInputs(samples=None, objects=OBJECTS, knockouts=knockouts)
    return knockout(inputs, **options)


def test_the_score_is_the_mean_drop_of_a_token_s_log_probability(knockouts):
    scores = score(knockouts)
    np.testing.assert_allclose(scores.value, [1, 1, -0.5])
    np.testing.assert_allclose(scores.items, -np.array(list(RING.values())) / 2)
    assert scores.images.tolist() == [10, 20, 30] and scores.n == 3
    expected = np.std(scores.items, axis=0, ddof=1) / np.sqrt(3)
    np.testing.assert_allclose(scores.standard_error, expected)
    table = scores_table("knockout", scores)
    assert table["head"].isna().all() and table["layer"].tolist() == [0, 1, 2]


def test_the_score_of_a_question_is_the_drop_of_the_margin(knockouts):
    scores = score(knockouts, outcome="question", rows="last", source="image")
    np.testing.assert_allclose(scores.value, [0, 1, 2])


def test_a_score_of_a_source_that_no_item_has_is_refused(knockouts):
    with pytest.raises(UserError, match="no item has a knockout of random from description"):
        score(knockouts, source="random")


def test_the_relative_change_is_of_the_geometric_mean_in_percent(knockouts):
    changes = knockout_changes(knockouts)
    chosen = changes[(changes["measure"] == "probability") & (changes["source"] == "object_ring")]
    for item, values in RING.items():
        before = np.exp(PLAIN[item] / 2)
        after = np.exp((PLAIN[item] + np.array(values)) / 2)
        got = chosen[chosen["object_id"] == item].sort_values("layer")["change"]
        np.testing.assert_allclose(got, 100 * (after - before) / before)


def test_wrong_answers_count_for_the_margin_and_not_for_the_relative_change(knockouts):
    changes = knockout_changes(knockouts)
    questions = changes[changes["outcome"] == "question"]
    items = questions.groupby("measure")["object_id"].unique().map(sorted)
    assert items["probability"] == [1, 2] and items["margin"] == [1, 2, 3]
    relative = questions[(questions["measure"] == "probability") & (questions["layer"] == 1)]
    np.testing.assert_allclose(relative["change"], 100 * (np.exp(-1) - 1))


def test_the_table_has_a_row_a_layer_with_mean_error_and_interval(knockouts):
    table = knockout_table({"M": knockouts}, OBJECTS)
    keys = ["model", "outcome", "measure", "rows", "source", "layer"]
    # two sources of the description with two measures, one of the question with two
    assert len(table) == 3 * (2 * 2 + 2) and not table.duplicated(keys).any()
    rows = table[(table["measure"] == "log_probability") & (table["source"] == "object_ring")]
    np.testing.assert_allclose(rows["change"], [-1, -1, 0.5])
    np.testing.assert_allclose(rows["standard_error"], score(knockouts).standard_error)
    assert (rows["low"] < rows["change"]).all() and (rows["change"] < rows["high"]).all()
    assert (rows["low"] >= [-1.5, -2, 0]).all() and (rows["high"] <= [-0.5, 0, 1.5]).all()
    assert rows["n"].tolist() == [3] * 3 and rows["image_tokens"].tolist() == [6] * 3
    assert set(table.loc[table["source"] == "other_object", "n"]) == {2}


def test_figure_8_shows_the_relative_changes_of_the_table(knockouts, tmp_path):
    described = knockouts[knockouts["outcome"] == "description"]
    table = knockout_table({"M": knockouts, "N": described}, OBJECTS)
    figure = figure8(table)
    upper, lower = figure.axes[:2], figure.axes[2:]
    assert [ax.get_title() for ax in upper] == ["M", "N"]
    assert upper[0].get_ylabel().startswith("description, from description\n")
    assert lower[0].get_ylabel().startswith("question, from last\n")
    lines = {line.get_label(): line for line in upper[0].lines if line.get_marker() == "o"}
    assert set(lines) == {"object_ring", "other_object"}
    shown = table[(table["model"] == "M") & (table["measure"] == "probability")]
    for source, line in lines.items():
        expected = shown[shown["source"] == source]
        np.testing.assert_allclose(line.get_ydata(), expected["change"])
        np.testing.assert_allclose(line.get_xdata(), expected["layer"])
        assert to_hex(line.get_color()) == to_hex(COLOUR_OF[source])
    bounds = upper[0].collections[0].get_paths()[0].vertices[:, 1]
    ring = shown[shown["source"] == "object_ring"]
    np.testing.assert_allclose(
        [bounds.min(), bounds.max()], [ring["low"].min(), ring["high"].max()]
    )
    (asked,) = (line for line in lower[0].lines if line.get_marker() == "o")
    np.testing.assert_allclose(asked.get_ydata(), shown.loc[shown["rows"] == "last", "change"])
    assert len(lower[1].lines) == 1  # N was asked no question: the zero line alone
    (legend,) = figure.legends
    shown_sources = {text.get_text() for text in legend.get_texts()}
    assert shown_sources == {"object_ring", "other_object", "image"}
    save(figure, [tmp_path / "figure8.svg"])
    assert (tmp_path / "figure8.svg").stat().st_size > 1000

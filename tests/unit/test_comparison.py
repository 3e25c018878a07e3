"""Published numbers are compared with those of a study, by confidence intervals."""

import numpy as np
import pandas as pd
import pytest

from headimpact.guards import UserError
from headimpact.report.paper import COLUMNS, compare

FILES = {
    "table1": "model,parameters,layers,attention_heads\nP,3.03e9,26,8\nQ,2.21e9,28,12\n",
    "table2": "quantity,P layers,P heads\nstatistic,1.0,1.0\np_value,0.1,0.1\n",
    "table2_corrected": "quantity,P layers,P heads\nstatistic,75.28,6.81\np_value,6.15e-7,0.449\n",
    "table3": 'model,setup,layers\nP,top-4,"6, 8"\nP,random-4,"5, 7"\nP,bottom-4,"1, 2"\n',
    "table4": "model,metric,original,original_error,top-4,top-4_error,full,full_error\n"
    "P,Accuracy,0.94,,0.26,,0.90,\n"
    "P,AnsProb,0.94,0.01,0.26,0.01,0.91,0.01\n"
    "P,Perplexity,9.85,0.04,8.88,0.08,9.46,0.04\n",
    "table5": 'model,total,trainable,trainable_percent\nP,"3,033,479,408","352,256",0.0116\n',
}
OURS = {
    "table1": pd.DataFrame(
        {"model": ["Ours"], "parameters": [3033127152], "layers": [26], "attention_heads": [9]}
    ),
    "table2": pd.DataFrame(
        {
            "score": ["Head Impact"] * 3 + ["another"] * 3,
            "quantity": ["statistic", "p_value", "degrees_of_freedom"] * 2,
            "Ours layers": [90.0, 1e-9, 25, 1, 1, 1],
            "Ours heads": [6.7, np.nan, 7, 1, 1, 1],
        }
    ),
    "table3": pd.DataFrame(
        {
            "model": "Ours",
            "setup": ["original", "top-4", "random-4", "random-4"],
            "draw": [0, 0, 1, 0],
            "layers": [np.nan, "3, 8, 16", "7", "5"],
        }
    ),
    "table4": pd.DataFrame(
        {
            "model": "Ours",
            "metric": ["Accuracy", "AnsProb", "Perplexity"],
            "original": [0.9, 0.99, 9.0],
            "original_error": [0.02, 0.02, 0.45],
            "top-4": [0.28, np.nan, 9.7],
            "top-4_error": [0.005, 0.01, 0.41],
        }
    ),
    "table5": pd.DataFrame(
        {
            "model": ["Ours"],
            "total": [3033479408],
            "trainable": [352257],
            "trainable_percent": [0.0116],
        }
    ),
}
INTERVALS = {
    "Ours": {
        "layers": {"statistic": (70.0, 75.276), "p_value": (1e-10, 6e-7)},
        "heads": {"statistic": (6.5, 7.5), "p_value": (np.nan, np.nan)},
    }
}


@pytest.fixture
def folder(tmp_path):
    for name, text in FILES.items():
        (tmp_path / f"{name}.csv").write_text(text)
    return tmp_path


@pytest.fixture
def rows(folder):
    """A comparison, indexed by table, model, setup, and quantity or published layer."""
    table = compare(folder, {"Ours": "P"}, OURS, INTERVALS)
    assert list(table.columns) == COLUMNS
    layers = table["table"] == "table3"
    key = table["quantity"].where(~layers, table["published"])
    return table.set_index([table["table"], table["model"], table["setup"], key])


def test_every_published_number_has_a_row(rows):
    counted = rows["published"].groupby(level=0, sort=False).size()
    assert counted.to_dict() == {"table1": 6, "table2": 4, "table3": 6, "table4": 9, "table5": 3}
    assert rows.index.is_unique
    printed = rows.loc[("table4", "Ours", "top-4", "Perplexity")]
    assert (printed["published"], printed["published_error"]) == ("8.88", "0.08")


@pytest.mark.parametrize(
    ("row", "ours", "inside"),
    [
        (("table1", "Ours", "", "parameters"), 3033127152, True),
        (("table1", "Ours", "", "layers"), 26, True),
        (("table1", "Ours", "", "attention_heads"), 9, False),
        (("table5", "Ours", "", "total"), 3033479408, True),
        (("table5", "Ours", "", "trainable"), 352257, False),
        (("table5", "Ours", "", "trainable_percent"), 0.0116, True),
    ],
)
def test_counts_are_compared_exactly(rows, row, ours, inside):
    compared = rows.loc[row]
    assert [compared[x] for x in ("ours", "low", "high")] == [ours] * 3
    assert compared["inside"] is inside


def test_table2_is_compared_with_its_corrected_print_by_bootstrap(rows):
    statistic = rows.loc[("table2", "Ours", "", "layers statistic")]
    # 75.276 is less than 75.28, but is rounded to it.
    assert statistic[["ours", "low", "high"]].tolist() == [90.0, 70.0, 75.276]
    assert statistic["published"] == "75.28" and statistic["inside"] is True
    heads = rows.loc[("table2", "Ours", "", "heads statistic")]
    assert heads[["ours", "low", "high", "inside"]].tolist() == [6.7, 6.5, 7.5, True]
    p_value = rows.loc[("table2", "Ours", "", "layers p_value")]
    assert p_value["ours"] == 1e-9 and p_value["inside"] is False


def test_table3_tells_which_published_layers_are_trained(rows):
    compared = rows.loc[("table3", "Ours")]
    assert compared["ours"].dropna().to_dict() == {("top-4", "8"): 8, ("random-4", "5"): 5}
    assert compared["inside"].to_dict() == {
        **{("top-4", "6"): False, ("top-4", "8"): True},
        # Layer 5 is of the first draw, layer 7 only of the second.
        **{("random-4", "5"): True, ("random-4", "7"): False},
        **{("bottom-4", "1"): None, ("bottom-4", "2"): None},
    }
    assert compared[["low", "high"]].isna().all(axis=None)


@pytest.mark.parametrize(
    ("setup", "metric", "interval", "inside"),
    [
        # 0.94 includes all numbers from 0.935.
        ("original", "Accuracy", (0.9 - 0.0392, 0.9 + 0.0392), True),
        ("original", "AnsProb", (0.99 - 0.0392, 1.0), False),
        # The interval is that of the logarithm: 1.96 * 0.45 / 9 = 0.098, and 9.845 < 9 * 1.103.
        ("original", "Perplexity", (9 * np.exp(-0.098), 9 * np.exp(0.098)), True),
        ("top-4", "Accuracy", (0.28 - 0.0098, 0.28 + 0.0098), False),
        # 9.7 - 1.96 * 0.41 = 8.896 would miss 8.88, and so does 9.7 * exp(-0.0828) = 8.929
        ("top-4", "Perplexity", (9.7 * np.exp(-0.8036 / 9.7), 9.7 * np.exp(0.8036 / 9.7)), False),
    ],
)
def test_table4_is_compared_by_its_standard_errors(rows, setup, metric, interval, inside):
    compared = rows.loc[("table4", "Ours", setup, metric)]
    assert (compared["low"], compared["high"]) == pytest.approx(interval, rel=1e-12)
    assert compared["inside"] is inside


def test_the_interval_of_a_share_does_not_fall_below_zero(folder):
    table4 = OURS["table4"].assign(original=[0.01, 0.02, 9.0])
    table = compare(folder, {"Ours": "P"}, OURS | {"table4": table4}, INTERVALS)
    assert table.loc[table["table"] == "table4", "low"].tolist()[0] == 0


@pytest.mark.parametrize(
    "row",
    [
        # nan in this study
        ("table2", "Ours", "", "heads p_value"),
        ("table4", "Ours", "top-4", "AnsProb"),
        # a setup that this study does not have
        ("table4", "Ours", "full", "Accuracy"),
        ("table3", "Ours", "bottom-4", "1"),
        # a model that this study does not have
        ("table1", "Q", "", "layers"),
    ],
)
def test_a_number_that_the_study_does_not_have_is_none(rows, row):
    assert rows.loc[row, ["ours", "low", "high", "inside"]].tolist() == [None] * 4


def test_a_value_without_an_error_has_no_interval(folder):
    table4 = OURS["table4"].assign(original_error=np.nan)
    table = compare(folder, {"Ours": "P"}, OURS | {"table4": table4}, INTERVALS)
    accuracy = table[(table["quantity"] == "Accuracy") & (table["setup"] == "original")].iloc[0]
    assert accuracy["ours"] == 0.9
    assert accuracy[["low", "high", "inside"]].tolist() == [None] * 3
    layers = {"statistic": (np.nan, np.nan), "p_value": (np.nan, np.nan)}
    intervals = {"Ours": INTERVALS["Ours"] | {"layers": layers}}
    table = compare(folder, {"Ours": "P"}, OURS, intervals)
    test = table[table["quantity"] == "layers statistic"].iloc[0]
    assert test[["ours", "low", "high", "inside"]].tolist() == [90.0, None, None, None]


def test_a_setup_that_trains_nothing_trains_no_published_layer(folder):
    table3 = OURS["table3"].assign(layers=np.nan)
    table = compare(folder, {"Ours": "P"}, OURS | {"table3": table3}, INTERVALS)
    assert table.loc[table["setup"] == "random-4", "inside"].tolist() == [False, False]


def test_a_published_model_may_have_several_titles_or_none(folder):
    table = compare(folder, {"Ours": "P", "Other": "P"}, OURS, INTERVALS)
    assert set(table["model"]) == {"Ours", "Other", "Q"}
    assert table.loc[table["model"] == "Other", "ours"].isna().all()
    # A title that equals the name of a published model is not enough.
    table = compare(folder, {}, OURS | {"table1": OURS["table1"].assign(model="P")}, {})
    assert set(table["model"]) == {"P", "Q"} and table["ours"].isna().all()


def test_an_unknown_published_model_is_refused(folder):
    with pytest.raises(UserError, match=r"^Ours: .*\bR\b.*\bP, Q\b"):
        compare(folder, {"Ours": "R"}, OURS, INTERVALS)


def test_the_csv_has_every_digit(folder, tmp_path):
    compare(folder, {"Ours": "P"}, OURS, INTERVALS).to_csv(tmp_path / "c.csv", index=False)
    lines = (tmp_path / "c.csv").read_text().splitlines()
    assert "table1,Ours,,parameters,3033127152,3033127152,3033127152,3.03e9,,True" in lines
    assert "table3,Ours,top-4,layer,,,,6,,False" in lines
    assert "table1,Q,,layers,,,,28,," in lines

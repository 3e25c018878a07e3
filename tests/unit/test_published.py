"""The published tables: whether they are consistent, and how they are read."""

from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from headimpact.guards import UserError
from headimpact.report.published import printed_interval, read
from headimpact.scores.layers import Decoder, published, published_layers

ROOT = Path(__file__).resolve().parents[2]
PRINTED = ROOT / "resources" / "published"
MODELS = read(PRINTED, "table1").set_index("model")


@pytest.fixture
def in_repository(monkeypatch):
    """The working directory is the repository's root, as in a rule."""
    monkeypatch.chdir(ROOT)


def rounds_to(value, text):
    low, high = printed_interval(text)
    return low <= value <= high


def matching_models(tests, column):
    """The models whose degrees of freedom fit the statistic and p-value of a column of Table 2.

    The printed statistic is rounded, so its tail probability is an interval as well.
    """
    groups = {"layers": "layers", "heads": "attention_heads"}[column.rsplit(" ", 1)[1]]
    smallest, largest = printed_interval(tests.loc["statistic", column])
    low, high = printed_interval(tests.loc["p_value", column])
    freedom = {model: int(count) - 1 for model, count in MODELS[groups].items()}
    return [
        m
        for m, df in freedom.items()
        if chi2.sf(largest, df) <= high and chi2.sf(smallest, df) >= low
    ]


def test_the_columns_of_the_papers_table2_are_permuted():
    """The degrees of freedom that fit a printed p-value show which model it belongs to."""
    tests = read(PRINTED, "table2").set_index("quantity")
    model_behind = {}
    for heading in MODELS.index:
        by_layers, by_heads = (
            matching_models(tests, f"{heading} {x}") for x in ("layers", "heads")
        )
        assert len(by_layers) == 1 and by_heads == by_layers
        model_behind[heading] = by_layers[0]
    assert sorted(model_behind.values()) == sorted(MODELS.index)
    assert all(heading != model for heading, model in model_behind.items())

    def right_heading(column):
        heading, groups = column.rsplit(" ", 1)
        return f"{model_behind[heading]} {groups}"

    renamed = tests.rename(columns=right_heading)
    corrected = read(PRINTED, "table2_corrected").set_index("quantity")
    assert renamed[corrected.columns].equals(corrected)


@pytest.mark.parametrize("model", MODELS.index)
def test_the_published_parameter_counts_are_consistent(model):
    counts = read(PRINTED, "table5").set_index("model").loc[model]
    total, trainable = (printed_interval(counts[x])[0] for x in ("total", "trainable"))
    assert rounds_to(100 * trainable / total, counts["trainable_percent"])
    assert rounds_to(total - trainable, MODELS.loc[model, "parameters"])


@pytest.mark.parametrize("model", MODELS.index)
def test_the_published_layers_exist_in_the_model(model, in_repository):
    top, bottom, random = (
        published_layers(model, f"{kind}-4") for kind in ("top", "bottom", "random")
    )
    # random-4 has neither top nor bottom layers (section 5.3).
    assert len({*top, *bottom, *random}) == 12
    assert {*top, *bottom, *random} <= set(range(int(MODELS.loc[model, "layers"])))


def test_the_published_tables_have_the_same_models_and_setups():
    for name in ("table3", "table4", "table5"):
        assert list(read(PRINTED, name)["model"].unique()) == list(MODELS.index)
    setups = list(read(PRINTED, "table4").columns[2::2])
    assert set(read(PRINTED, "table3")["setup"]) == {*setups} - {"original", "full"}


def test_cells_are_read_as_printed():
    assert read(PRINTED, "table2").loc[1, "PaliGemma2 heads"] == "0.30"
    assert read(PRINTED, "table4").loc[0, "original_error"] == ""


@pytest.mark.parametrize(
    ("text", "interval"),
    [
        ("0.94", (0.935, 0.945)),
        ("0.30", (0.295, 0.305)),
        ("0.3", (0.25, 0.35)),
        ("3.62e-9", (3.615e-9, 3.625e-9)),
        ("3.40e-12", (3.395e-12, 3.405e-12)),
        ("3.03e9", (3.025e9, 3.035e9)),
        ("2e3", (1500, 2500)),
        ("-0.5", (-0.55, -0.45)),
        ("26", (26, 26)),
        ("3,033,479,408", (3033479408, 3033479408)),
        ("1,024.5", (1024.45, 1024.55)),
    ],
)
def test_the_interval_of_a_printed_number_is_what_rounds_to_it(text, interval):
    assert printed_interval(text) == interval


@pytest.mark.parametrize("text", ["", "nan", "0.94 ± 0.01", "3.03B", "1,00", ".5", "1e", "0x1"])
def test_text_that_is_not_a_printed_number_is_refused(text):
    with pytest.raises(UserError) as error:
        printed_interval(text)
    assert repr(text) in str(error.value)


@given(st.floats(-1e6, 1e6), st.integers(1, 6), st.sampled_from("ef"))
def test_a_number_lies_in_the_interval_of_its_print(value, digits, form):
    text = f"{value:.{digits}{form}}".replace("e+", "e")
    low, high = printed_interval(text)
    # The bounds are rounded to floats.
    slack = 1e-12 * (abs(value) + 1e-300)
    assert low - slack <= value <= high + slack
    # The interval is one unit of the last digit wide.
    exponent = int(text.partition("e")[2] or 0)
    unit = Fraction(10) ** (exponent - digits)
    assert high - low == pytest.approx(float(unit), rel=1e-4, abs=4 * slack)


def test_published_layers_are_those_of_table3(in_repository):
    assert published_layers("SmolVLM", "top-4") == [0, 15, 16, 18]


@pytest.mark.parametrize(("model", "setup"), [("SmolVLM", "full"), ("Ours", "top-4")])
def test_layers_that_are_not_published_are_refused(model, setup, in_repository):
    with pytest.raises(UserError, match=rf"^resources/published/table3\.csv: .*{model}, {setup}"):
        published_layers(model, setup)


def test_published_layers_are_sorted(tmp_path, monkeypatch):
    path = tmp_path / "resources/published/table3.csv"
    path.parent.mkdir(parents=True)
    path.write_text('model,setup,layers\nM,top-4,"9, 10, 2"\n')
    monkeypatch.chdir(tmp_path)
    assert published(Decoder(total=11, published="M", setup="top-4")) == [2, 9, 10]
    with pytest.raises(UserError, match=r"^setups\.top-4: "):
        published(Decoder(total=10, published="M", setup="top-4"))


TABLE1 = "model,parameters,layers,attention_heads\n"
# {case: (name of the table, its content, text that the error contains)}
MALFORMED = {
    "columns of another table": ("table1", "model,layers\nM,3\n", "parameters, "),
    "one heading of a pair": ("table2", "quantity,M layers,N heads\np,1,1\n", "M heads"),
    "an error without its value": ("table4", "model,metric,a_error\nM,x,1\n", "a_error"),
    "no rows": ("table1", TABLE1, "rows"),
    "a cell too few": ("table1", TABLE1 + "M,3,4,5\nN,3,4\n", "row 3 "),
    "a cell too many": ("table1", TABLE1 + "M,3,4,5,6\n", "row 2 "),
    "a word for a number": ("table1", TABLE1 + "M,3B,4,5\n", "row 2, parameters: '3B'"),
    "a number left out": ("table1", TABLE1 + "M,3,,5\n", "row 2, layers: ''"),
    "layers of another form": ("table3", "model,setup,layers\nM,t,1;2\n", "row 2, layers: '1;2'"),
    "a model twice": ("table1", TABLE1 + "M,3,4,5\n" * 2, "M twice"),
    "not UTF-8": ("table1", b"model,\xff\n", "utf-8"),
    "empty": ("table1", "", "CSV"),
}


@pytest.mark.parametrize("case", MALFORMED)
def test_a_malformed_table_is_reported_with_its_row(case, tmp_path):
    name, content, place = MALFORMED[case]
    path = tmp_path / f"{name}.csv"
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    with pytest.raises(UserError) as error:
        read(tmp_path, name)
    message = str(error.value)
    assert message.startswith(f"{path}: ") and place in message and "\n" not in message
    assert "resources/published" in message  # the folder of the original


def test_a_missing_table_is_reported(tmp_path):
    with pytest.raises(UserError) as error:
        read(tmp_path, "table4")
    assert str(error.value).startswith(f"{tmp_path / 'table4.csv'}: missing")

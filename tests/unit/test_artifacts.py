"""The tables between rules: what is written, what is accepted, and what is refused by name."""

import json

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tables import SCORES, TOKENS, assert_refused

from headimpact import artifacts, table_kinds
from headimpact.guards import UserError

DROPPED = [{"image_id": 4, "file_name": "a/b.jpg", "reason": "size differs"}]
IMAGES = [
    {
        **{"image_id": 1, "file_name": "a.jpg", "width": 4, "height": 3, "sha256": None},
        **{"caption_id": 7, "caption": "a dog", "annotator": "instances"},
    }
]


@pytest.fixture
def path(tmp_path):
    return tmp_path / "table.parquet"


def records(table):
    """The rows of a table as dicts of plain values, None for what is missing."""
    return [
        {
            name: list(value)
            if isinstance(value, np.ndarray)
            else None
            if pd.isna(value)
            else value
            for name, value in row.items()
        }
        for row in table.to_dict("records")
    ]


@pytest.mark.parametrize(
    ("kind", "rows"),
    [("tokens", TOKENS), ("scores", SCORES), ("dropped", DROPPED), ("images", IMAGES)],
)
def test_a_written_table_is_read_with_its_values_types_and_record(path, kind, rows):
    artifacts.write(path, kind, rows, study="s", seed=4)
    assert records(artifacts.read(path, kind)) == rows
    assert pq.read_schema(path).remove_metadata() == artifacts.schema(kind)
    record = artifacts.provenance(path)
    assert (record["study"], record["seed"], record["kind"]) == ("s", 4, kind)
    assert set(record["versions"]) == set(artifacts.PACKAGES)
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("kind", table_kinds.TABLES)
def test_an_empty_table_of_every_kind_has_its_columns(path, kind):
    artifacts.write(path, kind, [])
    assert list(artifacts.read(path, kind)) == artifacts.columns(kind)
    pd.DataFrame(columns=artifacts.columns(kind)).to_parquet(path)
    assert list(artifacts.read(path, kind)) == artifacts.columns(kind)
    pd.DataFrame({name: [] for name in artifacts.columns(kind)}).to_parquet(path)
    assert len(artifacts.read(path, kind)) == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"extra": 1}, "column extra is unknown"),
        ({"value": "half"}, "column value"),
        ({"value": None}, "column value lacks 1 values"),
        ({"value": float("nan")}, "column value lacks 1 values"),
        ({"layer": 1e9}, "column layer does not fit into int16"),
        ({"layer": 0.5}, "column layer does not fit into int16"),
        ({"layer": True}, "column layer is of type bool"),
        ({"n": 1 << 70}, "column n"),
        ({"score": 3}, "column score is of type int64, not string"),
        ({"score": "a \ud800"}, "holds text that is not Unicode"),
    ],
)
def test_values_that_a_table_does_not_admit_are_not_written(path, changes, message):
    with pytest.raises(UserError) as error:
        artifacts.write(path, "scores", [{**SCORES[0], **changes}])
    assert str(error.value).startswith(f"{path}: {message}")
    assert list(path.parent.iterdir()) == []


def test_a_row_without_a_column_is_not_written(path):
    with pytest.raises(UserError, match="column head is missing in this table of scores"):
        artifacts.write(path, "scores", [{"score": "s", "layer": 0}])


@pytest.mark.parametrize(
    ("kind", "rows"),
    [("tokens", TOKENS), ("scores", SCORES), ("dropped", DROPPED), ("images", IMAGES)],
)
@pytest.mark.parametrize("compression", ["snappy", None])
def test_a_file_written_with_pandas_is_accepted(path, kind, rows, compression):
    artifacts.write(path, kind, rows)
    written_here = artifacts.read(path, kind)
    frame = pd.DataFrame(rows)[artifacts.columns(kind)[::-1]]  # in another order
    frame.to_parquet(path, compression=compression)
    pd.testing.assert_frame_equal(artifacts.read(path, kind), written_here)
    assert artifacts.provenance(path) == {}
    artifacts.check_pages(path)


@pytest.mark.parametrize(
    ("column", "values"),
    [
        ("score", pa.array(["s", "s"]).dictionary_encode()),
        ("score", pa.array(["s", "s"], pa.large_string())),
        ("layer", pa.array([0.0, 1.0])),
        ("layer", pa.array([0, 1], pa.uint64())),
        ("head", pa.array([None, None])),
        ("value", pa.array([1, 2])),
    ],
)
def test_a_type_that_holds_the_same_values_is_converted(path, column, values):
    artifacts.write(path, "scores", SCORES[:2])
    table = pq.read_table(path)
    table = table.set_column(table.schema.get_field_index(column), column, values)
    pq.write_table(table, path)
    read = artifacts.read(path, "scores")[column]
    assert [None if pd.isna(value) else value for value in read] == values.to_pylist()


def table_with(column, values):
    """Two scores, with other values in one column; None leaves the column out."""
    table = pa.table(pd.DataFrame(SCORES[:2]))
    index = table.schema.get_field_index(column)
    if values is None:
        return table.remove_column(index)
    return table.set_column(index, column, pa.array(values))


@pytest.mark.parametrize("column", table_kinds.TABLES["scores"])
def test_a_missing_column_is_named(path, column):
    pq.write_table(table_with(column, None), path)
    assert_refused(path, "scores", f"column {column} is missing in this table of scores; add it")


def test_unknown_and_repeated_columns_are_named(path):
    table = pa.table(pd.DataFrame(SCORES[:2]))
    pq.write_table(table.append_column("extra", table["n"]), path)
    assert_refused(path, "scores", "column extra is unknown in this table of scores; remove it")
    pq.write_table(table.append_column("n", table["n"]), path)
    assert_refused(path, "scores", "column n occurs twice in this table of scores; remove it")


def test_the_index_that_pandas_writes_of_filtered_rows_is_no_column(path):
    pd.DataFrame(SCORES, index=[4, 5, 6]).to_parquet(path)
    assert "__index_level_0__" in pq.read_schema(path).names
    table = artifacts.read(path, "scores")
    assert list(table.columns) == artifacts.columns("scores") and list(table.index) == [0, 1, 2]


@pytest.mark.parametrize(
    ("column", "values", "message"),
    [
        ("score", [1, 2], "is of type int64, not string; convert it"),
        ("layer", ["0", "1"], "is of type string, not int16; convert it"),
        ("layer", [True, False], "is of type bool, not int16; convert it"),
        ("layer", [0, 1 << 15], "does not fit into int16"),
        ("head", [0.5, 1], "does not fit into int16"),
        ("n", [1.5, 2], "does not fit into int64"),
        ("value", [(1 << 53) + 1, 2], "does not fit into double"),
        ("standard_error", [b"1", b"2"], "is of type binary, not double; convert it"),
        ("score", ["s", None], "lacks 1 values; fill them in"),
        ("layer", [None, 1], "lacks 1 values; fill them in"),
        ("value", [None, None], "lacks 2 values; fill them in"),
        ("value", [float("nan"), 1], "lacks 1 values; fill them in"),
        ("n", [None, 1], "lacks 1 values; fill them in"),
    ],
)
def test_a_column_of_other_values_is_named(path, column, values, message):
    pq.write_table(table_with(column, values), path)
    assert_refused(path, "scores", f"column {column} {message}")


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[0.5, None], [1.0, 0.0]], "column coverage lacks 1 values"),
        ([[0.5, 1.0], None], "column coverage lacks 1 values"),
        ([["a"], ["b"]], "column coverage is of type list<"),
        ([0.5, 1.0], "column coverage is of type double"),
    ],
)
def test_a_list_of_other_values_is_named(path, values, message):
    table = pa.table(pd.DataFrame(TOKENS))
    index = table.schema.get_field_index("coverage")
    pq.write_table(table.set_column(index, "coverage", pa.array(values)), path)
    assert_refused(path, "tokens", message)


def test_a_table_of_another_kind_is_refused(path):
    artifacts.write(path, "scores", SCORES)
    assert_refused(path, "tokens", "column object_id is missing in this table of tokens")


def test_a_record_that_cannot_be_read_is_named(path):
    for record in (b"{", b"[1]", b"\xff"):
        table = pa.table(pd.DataFrame(SCORES)).replace_schema_metadata({"headimpact": record})
        pq.write_table(table, path)
        assert len(artifacts.read(path, "scores")) == 3
        with pytest.raises(UserError, match=r"damaged .*run again"):
            artifacts.provenance(path)


def test_shards_are_joined_in_order(tmp_path):
    for number in range(3):
        artifacts.write(tmp_path / str(number), "scores", [{**SCORES[0], "layer": number}])
    joined = artifacts.read_all([tmp_path / str(i) for i in range(3)], "scores")
    assert joined["layer"].tolist() == [0, 1, 2] and joined.index.tolist() == [0, 1, 2]


def test_a_table_in_parts_appears_only_when_it_is_complete(tmp_path):
    path = tmp_path / "a.parquet"
    (row,) = DROPPED
    artifacts.write_parts(path, "dropped", (part for part in [[row], [], [row, row]]), seed=3)
    assert artifacts.read(path, "dropped").to_dict("records") == [row] * 3
    assert artifacts.provenance(path)["seed"] == 3

    def broken():
        yield [row]
        raise FloatingPointError("at sample 2")

    with pytest.raises(FloatingPointError, match="at sample 2"):
        artifacts.write_parts(tmp_path / "b.parquet", "dropped", broken())
    assert [file.name for file in tmp_path.iterdir()] == ["a.parquet"]


def test_the_generator_of_parts_is_closed_after_an_error(path):
    parts = (part for part in [[{"no": "such column"}], []])
    with pytest.raises(UserError, match="column image_id is missing"):
        artifacts.write_parts(path, "dropped", parts)
    assert parts.gi_frame is None


def test_the_record_is_json_in_the_footer(path):
    artifacts.write(path, "dropped", DROPPED, model={"checkpoint": "a/b"})
    record = json.loads(pq.read_schema(path).metadata[b"headimpact"])
    assert record == artifacts.provenance(path) and record["model"] == {"checkpoint": "a/b"}

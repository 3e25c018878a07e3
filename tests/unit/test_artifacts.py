import pandas as pd
import pytest

from headimpact import artifacts

ROW = {"object_id": 1, "layer": 0, "head": 3, "iou": 0.5}


def test_there_and_back_with_provenance(tmp_path):
    path = tmp_path / "folder" / "impact.parquet"
    artifacts.write(path, "impact", [ROW], study="s", seed=4)
    assert artifacts.read(path, "impact").to_dict("records") == [ROW]
    record = artifacts.provenance(path)
    assert (record["study"], record["seed"], record["kind"]) == ("s", 4, "impact")
    assert set(record["versions"]) == set(artifacts.PACKAGES)
    assert list(path.parent.iterdir()) == [path]


def test_an_empty_table_keeps_its_columns(tmp_path):
    artifacts.write(tmp_path / "x", "dropped", [])
    assert list(artifacts.read(tmp_path / "x", "dropped")) == artifacts.SCHEMAS["dropped"].names


@pytest.mark.parametrize(
    "row",
    [{**ROW, "extra": 1}, {"object_id": 1}, {**ROW, "iou": "half"}, {**ROW, "layer": 1e9}],
)
def test_what_the_contract_does_not_admit_is_not_written(tmp_path, row):
    with pytest.raises(ValueError, match=str(tmp_path)):
        artifacts.write(tmp_path / "x", "impact", [row])
    assert not (tmp_path / "x").exists()


def test_damaged_and_foreign_files_are_named(tmp_path):
    path = tmp_path / "x"
    artifacts.write(path, "impact", [ROW] * 500)
    with pytest.raises(ValueError, match="not a table of tokens"):
        artifacts.read(path, "tokens")
    path.write_bytes(path.read_bytes()[:-100])
    with pytest.raises(ValueError, match=r"damaged.*delete it and run again"):
        artifacts.read(path, "impact")
    path.write_bytes(b"")
    with pytest.raises(ValueError, match="damaged"):
        artifacts.read(path, "impact")


def test_shards_are_joined_in_order(tmp_path):
    for number in range(3):
        table = pd.DataFrame([{**ROW, "object_id": number}])
        artifacts.write(tmp_path / str(number), "impact", table)
    joined = artifacts.read_all([tmp_path / str(i) for i in range(3)], "impact")
    assert joined["object_id"].tolist() == [0, 1, 2]


def test_a_table_in_parts_is_whole_or_not_there(tmp_path):
    path = tmp_path / "a.parquet"
    row = {"image_id": 1, "file_name": "a", "reason": "b"}
    artifacts.write_parts(path, "dropped", iter([[row], [], [row, row]]), seed=3)
    assert artifacts.read(path, "dropped").to_dict("records") == [row] * 3
    assert artifacts.provenance(path)["seed"] == 3

    def broken():
        yield [row]
        raise FloatingPointError("at sample 2")

    with pytest.raises(FloatingPointError, match="at sample 2"):
        artifacts.write_parts(tmp_path / "b.parquet", "dropped", broken())
    assert [file.name for file in tmp_path.iterdir()] == ["a.parquet"]

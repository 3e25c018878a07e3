import numpy as np
import pandas as pd
import pyarrow.parquet as pq
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


def told_damaged(path, content):
    """Both readers name the file and the mend in one line."""
    path.write_bytes(content)
    for read in (lambda: artifacts.read(path, "impact"), lambda: artifacts.provenance(path)):
        with pytest.raises(ValueError) as error:
            read()
        assert str(error.value) == (
            f"{path}: damaged, or not written by headimpact; delete it and run again"
        )


def test_a_changed_byte_is_told_wherever_it_lies(tmp_path):
    """In numbers, text, what was recorded and parquet's own parts, for every byte of the file."""
    path = tmp_path / "x"
    artifacts.write(path, "impact", [ROW] * 3, seed=4)
    whole = path.read_bytes()
    for place in range(len(whole)):
        flipped = bytes([whole[place] ^ (1 << place % 8)])
        told_damaged(path, whole[:place] + flipped + whole[place + 1 :])
        told_damaged(path, whole[:place])
        told_damaged(path, whole[:place] + b"0" + whole[place:])
    told_damaged(path, whole + b"0")
    told_damaged(path, whole + whole)


def test_a_changed_byte_of_a_large_file_is_told(tmp_path):
    path = tmp_path / "x"
    row = {"object_id": 1, "layer": 0, "head": 3}
    noise = [{**row, "attended": np.random.default_rng(0).bytes(1 << 20)} for _ in range(3)]
    artifacts.write(path, "attended", noise)
    whole = path.read_bytes()
    assert artifacts.read(path, "attended")["attended"].tolist() == [r["attended"] for r in noise]
    assert len(whole) > artifacts.TAIL
    for place in (4, len(whole) // 2, len(whole) - artifacts.TAIL - 1, -artifacts.TAIL):
        changed = bytearray(whole)
        changed[place] ^= 1
        told_damaged(path, changed)


@pytest.mark.parametrize(
    "rewrite",
    [
        lambda path: pd.read_parquet(path).to_parquet(path),
        # keeps all that was recorded, the hash too
        lambda path: pq.write_table(pq.read_table(path), path),
    ],
)
def test_what_others_wrote_is_refused(tmp_path, rewrite):
    path = tmp_path / "x.parquet"
    artifacts.write(path, "impact", [ROW] * 2)
    rewrite(path)
    assert pd.read_parquet(path)["iou"].tolist() == [0.5, 0.5]
    told_damaged(path, path.read_bytes())


@pytest.mark.parametrize("content", [b"", b"PAR1", b"PAR1\xff\xff\xff\xffPAR1", b"<html>"])
def test_what_is_no_parquet_is_refused(tmp_path, content):
    told_damaged(tmp_path / "x", content)


def test_a_table_of_another_kind_is_named(tmp_path, monkeypatch):
    path = tmp_path / "x"
    artifacts.write(path, "impact", [ROW])
    with pytest.raises(ValueError, match="x: not a table of tokens; delete it and run again"):
        artifacts.read(path, "tokens")
    # of the same columns, which a kind of another version may have
    monkeypatch.setitem(artifacts.SCHEMAS, "other", artifacts.SCHEMAS["impact"])
    with pytest.raises(ValueError, match="x: not a table of other; delete it and run again"):
        artifacts.read(path, "other")
    monkeypatch.setitem(artifacts.SCHEMAS, "impact", artifacts.SCHEMAS["tokens"])
    with pytest.raises(ValueError, match="x: not a table of impact; delete it and run again"):
        artifacts.read(path, "impact")


def test_a_file_that_is_not_there_is_named(tmp_path):
    for read in (
        lambda: artifacts.read(tmp_path / "x", "impact"),
        lambda: artifacts.provenance(tmp_path / "x"),
    ):
        with pytest.raises(FileNotFoundError, match="x"):
            read()


def test_shards_are_joined_in_order(tmp_path):
    for number in range(3):
        table = pd.DataFrame([{**ROW, "object_id": number}])
        artifacts.write(tmp_path / str(number), "impact", table)
    joined = artifacts.read_all([tmp_path / str(i) for i in range(3)], "impact")
    assert joined["object_id"].tolist() == [0, 1, 2]


def test_a_table_in_parts_is_whole_or_not_there(tmp_path):
    path = tmp_path / "a.parquet"
    row = {"image_id": 1, "file_name": "a", "reason": "b"}
    artifacts.write_parts(path, "dropped", (part for part in [[row], [], [row, row]]), seed=3)
    assert artifacts.read(path, "dropped").to_dict("records") == [row] * 3
    assert artifacts.provenance(path)["seed"] == 3

    def broken():
        yield [row]
        raise FloatingPointError("at sample 2")

    with pytest.raises(FloatingPointError, match="at sample 2"):
        artifacts.write_parts(tmp_path / "b.parquet", "dropped", broken())
    assert [file.name for file in tmp_path.iterdir()] == ["a.parquet"]


def test_who_gives_the_parts_ends_with_the_file(tmp_path):
    parts = (part for part in [[{"no": "such column"}], []])
    with pytest.raises(ValueError, match="columns"):
        artifacts.write_parts(tmp_path / "a.parquet", "dropped", parts)
    assert parts.gi_frame is None

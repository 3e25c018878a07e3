"""provenance.json records the inputs of a study's results and lists damaged files."""

import hashlib

import pandas as pd
import pytest
from tables import ATTENTION

from headimpact import artifacts
from headimpact.report.provenance import gather

STUDY = {"training": {"seed": 3, "epochs": 2}, "layer_seed": 5, "dataset": {"seed": 7}}
MODEL = {"checkpoint": "a/b", "commit": "c0ffee", "dtype": "float32", "device": "cpu"}


@pytest.fixture(params=["tiny", "release"])
def folder(tmp_path, request):
    """The results of a study; "release" is also the name of a folder that is excluded."""
    tmp_path = tmp_path / request.param
    sample = {"image_id": 1, "file_name": "x", "width": 2, "height": 3}
    sample |= {"caption_id": 0, "caption": "a", "split": "test"}
    samples = [{**sample, "sample_id": n, "sha256": digest} for n, digest in enumerate("ab")]
    artifacts.write(tmp_path / "samples.parquet", "samples", samples, code="s")
    for shard in range(2):
        path = tmp_path / f"qwen/attention/{shard}.parquet"
        artifacts.write(path, "attention", [ATTENTION], model=MODEL, code=f"a{shard}")
    (tmp_path / "table1.csv").write_text("a\n1\n")
    (tmp_path / "logs").mkdir()
    (tmp_path / "logs/table1.csv").write_text("no result")
    (tmp_path / "benchmarks").mkdir()
    (tmp_path / "benchmarks/qwen.attention.0.tsv").write_text("s\tmax_rss\n4.5\t400.25\n")
    (tmp_path / "benchmarks/table1.tsv").write_text("s\tmax_rss\n0.1\tNA\n")
    return tmp_path


def test_the_record_has_everything_that_a_result_depends_on(folder):
    record = gather(folder, STUDY, {"zips/val2017.zip": "md5"})
    assert record["configuration"] == STUDY
    assert record["seeds"] == {"training.seed": 3, "layer_seed": 5, "dataset.seed": 7}
    assert set(record["versions"]) == set(artifacts.PACKAGES)
    assert record["checkpoints"] == [MODEL]
    assert record["data"]["images"] == 2
    assert record["data"]["sha256"] == hashlib.sha256(b"ab").hexdigest()
    assert record["data"]["downloads"] == {"zips/val2017.zip": "md5"}
    assert record["rules"] == {
        "qwen.attention.0": {"seconds": 4.5, "peak_mb": 400.25},
        "table1": {"seconds": 0.1, "peak_mb": None},
    }
    assert record["code"]["qwen/attention/1.parquet"] == "a1"
    assert record["files"]["table1.csv"] == hashlib.sha256(b"a\n1\n").hexdigest()
    assert set(record["files"]) == {"table1.csv", "samples.parquet"} | {
        f"qwen/attention/{shard}.parquet" for shard in range(2)
    }
    assert record["damaged"] == {}


def test_two_versions_of_a_package_are_both_recorded(folder, monkeypatch):
    monkeypatch.setattr("importlib.metadata.version", lambda name: f"{name} 0")
    artifacts.write(folder / "x.parquet", "dropped", [], code="x")
    versions = gather(folder, STUDY, {})["versions"]
    assert len(versions["torch"]) == 2 and versions["torch"][1] == "torch 0"


def no_parquet(content):
    return b"no parquet"


def flipped_bit(content):
    """A flipped bit in the first page."""
    return content[:40] + bytes([content[40] ^ 1]) + content[41:]


@pytest.mark.parametrize("damage", [no_parquet, flipped_bit])
@pytest.mark.parametrize("name", ["samples.parquet", "qwen/attention/0.parquet"])
def test_a_damaged_file_is_listed_and_the_others_are_recorded(folder, name, damage):
    (folder / name).write_bytes(damage((folder / name).read_bytes()))
    record = gather(folder, STUDY, {})
    assert list(record["damaged"]) == [name]
    assert record["damaged"][name].startswith(f"{folder / name}: ")
    assert record["code"]["qwen/attention/1.parquet"] == "a1"


def test_a_table_of_another_program_has_no_code_version(folder):
    path = folder / "samples.parquet"
    pd.read_parquet(path).assign(sha256=[None, "b"]).to_parquet(path)
    record = gather(folder, STUDY, {})
    assert record["damaged"] == {} and "samples.parquet" not in record["code"]
    assert record["data"] == {
        "downloads": {},
        "images": 2,
        "sha256": hashlib.sha256(b"b").hexdigest(),
    }


def test_the_record_of_an_empty_folder_is_empty(tmp_path):
    record = gather(tmp_path, STUDY, {})
    assert record["files"] == record["rules"] == record["versions"] == {}

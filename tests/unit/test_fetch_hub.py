"""Checkpoints from a hub: complete, at a recorded commit, and errors with the fix in a line."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from hub import COMMIT, Hub

from headimpact.miniature.checkpoints import MAKERS, save

PROGRAM = """
import json, sys
from headimpact.fetch import hub
try:
    print(json.dumps(getattr(hub, sys.argv[1])(*sys.argv[2:]), default=str))
except (ValueError, OSError) as error:
    print(error, file=sys.stderr)
    sys.exit(3)
"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory):
    folder = tmp_path_factory.mktemp("checkpoint")
    save(folder, *MAKERS["idefics3"]())
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    (folder / "modeling_custom.py").write_text("raise SystemExit")
    for name in ("merges.txt", "tokenizer.model"):
        (folder / name).write_text("another kind of tokenizer")
    (folder / "onnx").mkdir()
    (folder / "onnx/config.json").write_text("{}")
    return folder


def call(home, environment, *arguments):
    """Call a function of headimpact.fetch.hub in a process of its own."""
    inherited = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env={**inherited, "HF_HOME": str(home), **environment},
        capture_output=True,
        text=True,
    )


def error_of(process):
    """The error message of a call that failed; it contains no token."""
    assert process.returncode == 3, process.stdout + process.stderr
    line = process.stderr.strip().splitlines()[-1]
    assert "hf_" not in process.stderr
    return line


def fetch(home, environment, *arguments):
    process = call(home, environment, "fetch", *arguments)
    assert process.returncode == 0, process.stderr
    return json.loads(process.stdout)


def test_a_downloaded_checkpoint_is_found_without_a_network(tmp_path, checkpoint):
    hub = Hub({"a/b": checkpoint})
    with hub.running() as environment:
        record = fetch(tmp_path, environment, "a/b")
        assert fetch(tmp_path, environment, "a/b", COMMIT)["commit"] == COMMIT
    assert record["commit"] == COMMIT and record["revision"] is None
    # Neither pickles nor code nor files of subfolders are downloaded.
    names = {path.name for path in checkpoint.iterdir()}
    assert set(record["files"]) == names - {"pytorch_model.bin", "modeling_custom.py", "onnx"}
    assert not any("onnx" in path for _, path, _ in hub.requests)
    weights = (checkpoint / "model.safetensors").stat().st_size
    assert record["files"]["model.safetensors"] == weights
    (tmp_path / "record.json").write_text(json.dumps(record))
    process = call(tmp_path, {"HF_HUB_OFFLINE": "1"}, "fetched_folder", f"{tmp_path}/record.json")
    folder, commit = json.loads(process.stdout)
    assert commit == COMMIT and os.path.isfile(f"{folder}/model.safetensors")
    assert fetch(tmp_path, {"HF_HUB_OFFLINE": "1"}, "a/b") == record
    assert call(tmp_path, {"HF_HUB_OFFLINE": "1"}, "check_access", "a/b").returncode == 0


def test_the_recorded_commit_is_used_although_the_hub_has_a_newer_one(tmp_path, checkpoint):
    """Also if another program has put files into the cache."""
    hub = Hub({"a/b": checkpoint})
    with hub.running() as environment:
        record = fetch(tmp_path, environment, "a/b")
        (tmp_path / "record.json").write_text(json.dumps(record))
        (snapshot,) = tmp_path.rglob(COMMIT)
        (snapshot / "onnx").mkdir()
        assert fetch(tmp_path, environment, "a/b") == record
        (main,) = tmp_path.rglob("refs/main")
        main.write_text("f" * 40)
        hub.requests.clear()
        process = call(tmp_path, environment, "fetched_folder", f"{tmp_path}/record.json")
        assert json.loads(process.stdout) == [str(snapshot), COMMIT] and hub.requests == []
    line = error_of(call(tmp_path / "else", {}, "fetched_folder", f"{tmp_path}/record.json"))
    assert line.startswith(f"a/b: commit {COMMIT} ")


def test_an_interrupted_download_is_not_used_until_it_is_complete(tmp_path, checkpoint):
    hub = Hub({"a/b": checkpoint}, breaks=99)
    with hub.running() as environment:
        line = error_of(call(tmp_path, environment, "fetch", "a/b"))
        assert line.startswith("a/b: ") and "run again" in line
        offline = {"HF_HUB_OFFLINE": "1"}
        assert "not in the hub's cache" in error_of(call(tmp_path, offline, "check_access", "a/b"))
        hub.breaks = 1
        fetch(tmp_path, environment, "a/b")
    (weights,) = tmp_path.rglob("*.safetensors")
    assert weights.read_bytes() == (checkpoint / "model.safetensors").read_bytes()


def test_a_missing_licence_is_reported_with_its_page(tmp_path, checkpoint):
    with Hub({"a/b": checkpoint}, gated=["a/b"]).running() as environment:
        for function in ("check_access", "fetch"):
            for token in ({}, {"HF_TOKEN": "hf_other"}):
                line = error_of(call(tmp_path, {**environment, **token}, function, "a/b"))
                assert line.startswith("a/b: ") and "https://huggingface.co/a/b " in line
                assert "HF_TOKEN" in line
        licensed = {**environment, "HF_TOKEN": "hf_licensed"}
        assert call(tmp_path, licensed, "check_access", "a/b").returncode == 0
        fetch(tmp_path, licensed, "a/b")
        # A checkpoint in the cache needs no licence.
        assert call(tmp_path, environment, "check_access", "a/b").returncode == 0


def test_a_stored_token_is_not_used(tmp_path, checkpoint):
    (tmp_path / "token").write_text("hf_licensed")
    with Hub({"a/b": checkpoint}, gated=["a/b"]).running() as environment:
        for function in ("check_access", "fetch"):
            assert "gated" in error_of(call(tmp_path, environment, function, "a/b"))


def test_a_checkpoint_or_revision_that_does_not_exist_is_named(tmp_path, checkpoint):
    with Hub({"a/b": checkpoint}).running() as environment:
        for function in ("check_access", "fetch"):
            line = error_of(call(tmp_path, environment, function, "a/nosuch"))
            assert line.startswith("a/nosuch: ") and "https://huggingface.co/a/nosuch" in line
        line = error_of(call(tmp_path, environment, "fetch", "a/b", "nosuch"))
        assert (
            line.startswith("a/b: ") and "nosuch" in line and "https://huggingface.co/a/b" in line
        )


def test_a_failure_of_the_hub_is_reported(tmp_path, checkpoint):
    with Hub({"a/b": checkpoint}, fails=["a/b"]).running() as environment:
        line = error_of(call(tmp_path, environment, "check_access", "a/b"))
    assert environment["HF_ENDPOINT"] in line and "run again" in line


def test_a_malformed_hub_id_is_refused(tmp_path):
    assert "'a/b/c'" in error_of(call(tmp_path, {}, "fetch", "a/b/c"))


def test_a_missing_network_is_reported_with_the_fix(tmp_path):
    closed = {"HF_ENDPOINT": "http://127.0.0.1:9", "no_proxy": "127.0.0.1"}
    for environment in ({"HF_HUB_OFFLINE": "1"}, closed):
        for function in ("check_access", "fetch"):
            line = error_of(call(tmp_path, environment, function, "a/b"))
            assert line.startswith("a/b: ") and ("fetch" in line or "run again" in line)


def test_a_checkpoint_with_only_pickles_is_refused(tmp_path, checkpoint):
    folder = tmp_path / "pickles"
    folder.mkdir()
    (folder / "config.json").write_text((checkpoint / "config.json").read_text())
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    with Hub({"a/b": folder}).running() as environment:
        line = error_of(call(tmp_path / "home", environment, "fetch", "a/b"))
    assert line.startswith("a/b: no safetensors; ")


def test_a_missing_file_of_a_checkpoint_is_named(tmp_path, checkpoint):
    folder, shards = tmp_path / "shards", ["a-1.safetensors", "a-2.safetensors", "b.safetensors"]
    folder.mkdir()
    for number, names in enumerate((shards[:2], shards[2:])):
        index = json.dumps({"weight_map": dict(enumerate(names))})
        (folder / f"{number}.safetensors.index.json").write_text(index)
    for name in shards:
        (folder / name).write_bytes(b"weights")
    (folder / "config.json").write_text("{}")
    with Hub({"a/b": folder}).running() as environment:
        assert set(shards) < set(fetch(tmp_path / "complete", environment, "a/b")["files"])
        for name in ("config.json", *shards[1:]):
            (folder / name).rename(tmp_path / "moved")
            line = error_of(call(tmp_path / name, environment, "fetch", "a/b"))
            assert line.startswith("a/b: ") and name in line
            (tmp_path / "moved").rename(folder / name)


@pytest.mark.parametrize("listed", [True, False])
def test_a_cache_without_the_weights_is_reported(tmp_path, checkpoint, listed):
    """Also the cache of an older huggingface_hub, which has no list of the files."""
    with Hub({"a/b": checkpoint}).running() as environment:
        record = fetch(tmp_path, environment, "a/b")
    path = tmp_path / "record.json"
    path.write_text(json.dumps(record))
    for weights in tmp_path.rglob("*.safetensors"):
        weights.unlink()
    (trees,) = tmp_path.rglob("trees")
    if not listed:
        shutil.rmtree(trees)
    line = error_of(call(tmp_path, {}, "fetched_folder", str(path)))
    assert line.startswith(f"a/b: commit {COMMIT} ")
    assert f"delete {path}" in line


def test_a_damaged_index_of_the_weights_is_reported(tmp_path, checkpoint):
    folder = tmp_path / "damaged"
    shutil.copytree(checkpoint, folder)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": []}')
    with Hub({"a/b": folder}).running() as environment:
        line = error_of(call(tmp_path / "home", environment, "fetch", "a/b"))
    assert line.startswith("a/b: model.safetensors.index.json is damaged; ")

"""Checkpoints from a hub: whole, at a known commit, and each fault in a line with its mend."""

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
        (folder / name).write_text("as other tokenizers have it")
    (folder / "onnx").mkdir()
    (folder / "onnx/config.json").write_text("{}")
    return folder


def call(home, environment, *arguments):
    """What a function of headimpact.fetch.hub gives, in a process of its own."""
    mine = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    return subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        env={**mine, "HF_HOME": str(home), **environment},
        capture_output=True,
        text=True,
    )


def told(done):
    """The one line with which a call ended."""
    assert done.returncode == 3, done.stdout + done.stderr
    line = done.stderr.strip().splitlines()[-1]
    assert "hf_" not in done.stderr
    return line


def fetched(home, environment, *arguments):
    done = call(home, environment, "fetch", *arguments)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_what_is_fetched_is_told_and_found_again_without_a_network(tmp_path, checkpoint):
    hub = Hub({"a/b": checkpoint})
    with hub.running() as environment:
        record = fetched(tmp_path, environment, "a/b")
        assert fetched(tmp_path, environment, "a/b", COMMIT)["commit"] == COMMIT
    assert record["commit"] == COMMIT and record["revision"] is None
    # neither pickles nor code, nor what lies deeper
    names = {path.name for path in checkpoint.iterdir()}
    assert set(record["files"]) == names - {"pytorch_model.bin", "modeling_custom.py", "onnx"}
    assert not any("onnx" in path for _, path, _ in hub.requests)
    weights = (checkpoint / "model.safetensors").stat().st_size
    assert record["files"]["model.safetensors"] == weights
    (tmp_path / "record.json").write_text(json.dumps(record))
    done = call(tmp_path, {"HF_HUB_OFFLINE": "1"}, "fetched_folder", f"{tmp_path}/record.json")
    folder, commit = json.loads(done.stdout)
    assert commit == COMMIT and os.path.isfile(f"{folder}/model.safetensors")
    assert fetched(tmp_path, {"HF_HUB_OFFLINE": "1"}, "a/b") == record
    assert call(tmp_path, {"HF_HUB_OFFLINE": "1"}, "check_access", "a/b").returncode == 0


def test_what_was_fetched_stays_what_the_hub_has_next(tmp_path, checkpoint):
    """Also beside what another program put into the cache."""
    hub = Hub({"a/b": checkpoint})
    with hub.running() as environment:
        record = fetched(tmp_path, environment, "a/b")
        (tmp_path / "record.json").write_text(json.dumps(record))
        (snapshot,) = tmp_path.rglob(COMMIT)
        (snapshot / "onnx").mkdir()
        assert fetched(tmp_path, environment, "a/b") == record
        (main,) = tmp_path.rglob("refs/main")
        main.write_text("f" * 40)
        hub.requests.clear()
        done = call(tmp_path, environment, "fetched_folder", f"{tmp_path}/record.json")
        assert json.loads(done.stdout) == [str(snapshot), COMMIT] and hub.requests == []
    line = told(call(tmp_path / "else", {}, "fetched_folder", f"{tmp_path}/record.json"))
    assert line.startswith(f"a/b: commit {COMMIT} is not whole in the hub's cache")


def test_a_fetch_that_broke_off_is_no_checkpoint_until_it_went_on(tmp_path, checkpoint):
    hub = Hub({"a/b": checkpoint}, breaks=99)
    with hub.running() as environment:
        line = told(call(tmp_path, environment, "fetch", "a/b"))
        assert line.startswith("a/b: ") and "run again" in line
        offline = {"HF_HUB_OFFLINE": "1"}
        assert "not in the hub's cache" in told(call(tmp_path, offline, "check_access", "a/b"))
        hub.breaks = 1
        fetched(tmp_path, environment, "a/b")
    (weights,) = tmp_path.rglob("*.safetensors")
    assert weights.read_bytes() == (checkpoint / "model.safetensors").read_bytes()


def test_a_licence_that_is_missing_names_its_page(tmp_path, checkpoint):
    with Hub({"a/b": checkpoint}, gated=["a/b"]).running() as environment:
        for function in ("check_access", "fetch"):
            for token in ({}, {"HF_TOKEN": "hf_other"}):
                line = told(call(tmp_path, {**environment, **token}, function, "a/b"))
                assert line == (
                    "a/b: gated; accept its licence at https://huggingface.co/a/b and set "
                    "HF_TOKEN to a token of that account"
                )
        licensed = {**environment, "HF_TOKEN": "hf_licensed"}
        assert call(tmp_path, licensed, "check_access", "a/b").returncode == 0
        fetched(tmp_path, licensed, "a/b")
        # what is there needs no licence any more
        assert call(tmp_path, environment, "check_access", "a/b").returncode == 0


def test_a_stored_token_is_not_used(tmp_path, checkpoint):
    (tmp_path / "token").write_text("hf_licensed")
    with Hub({"a/b": checkpoint}, gated=["a/b"]).running() as environment:
        for function in ("check_access", "fetch"):
            assert "gated" in told(call(tmp_path, environment, function, "a/b"))


def test_what_the_hub_has_not_is_named(tmp_path, checkpoint):
    with Hub({"a/b": checkpoint}).running() as environment:
        for function in ("check_access", "fetch"):
            line = told(call(tmp_path, environment, function, "a/nosuch"))
            assert line.startswith("a/nosuch: not at https://huggingface.co/a/nosuch")
        line = told(call(tmp_path, environment, "fetch", "a/b", "nosuch"))
        assert line.startswith("a/b: no revision nosuch; see https://huggingface.co/a/b")


def test_a_hub_that_fails_is_told_in_a_line(tmp_path, checkpoint):
    with Hub({"a/b": checkpoint}, fails=["a/b"]).running() as environment:
        line = told(call(tmp_path, environment, "check_access", "a/b"))
    assert f"the hub at {environment['HF_ENDPOINT']} failed (" in line and "run again" in line


def test_a_name_that_is_none_is_refused(tmp_path):
    assert "'a/b/c'" in told(call(tmp_path, {}, "fetch", "a/b/c"))


def test_without_a_network_the_mend_is_told(tmp_path):
    closed = {"HF_ENDPOINT": "http://127.0.0.1:9", "no_proxy": "127.0.0.1"}
    for environment in ({"HF_HUB_OFFLINE": "1"}, closed):
        for function in ("check_access", "fetch"):
            line = told(call(tmp_path, environment, function, "a/b"))
            assert line.startswith("a/b: ") and ("fetch" in line or "run again" in line)


def test_pickles_alone_are_refused(tmp_path, checkpoint):
    folder = tmp_path / "pickles"
    folder.mkdir()
    (folder / "config.json").write_text((checkpoint / "config.json").read_text())
    (folder / "pytorch_model.bin").write_bytes(b"a pickle")
    with Hub({"a/b": folder}).running() as environment:
        line = told(call(tmp_path / "home", environment, "fetch", "a/b"))
    assert line == "a/b: no safetensors; only these are read, name another"


def test_what_is_no_whole_checkpoint_is_named(tmp_path, checkpoint):
    folder, shards = tmp_path / "shards", ["a-1.safetensors", "a-2.safetensors", "b.safetensors"]
    folder.mkdir()
    for number, names in enumerate((shards[:2], shards[2:])):
        told_names = json.dumps({"weight_map": dict(enumerate(names))})
        (folder / f"{number}.safetensors.index.json").write_text(told_names)
    for name in shards:
        (folder / name).write_bytes(b"weights")
    (folder / "config.json").write_text("{}")
    with Hub({"a/b": folder}).running() as environment:
        assert set(shards) < set(fetched(tmp_path / "whole", environment, "a/b")["files"])
        for name, what in (
            ("config.json", "no config.json; it is no checkpoint of transformers"),
            *((name, f"{name} is missing; fetch it again") for name in shards[1:]),
        ):
            (folder / name).rename(tmp_path / "gone")
            assert told(call(tmp_path / name, environment, "fetch", "a/b")) == f"a/b: {what}"
            (tmp_path / "gone").rename(folder / name)


@pytest.mark.parametrize("listed", [True, False])
def test_a_cache_that_lost_its_weights_is_named(tmp_path, checkpoint, listed):
    """Also one of an older library, which has no list of what should be there."""
    with Hub({"a/b": checkpoint}).running() as environment:
        record = fetched(tmp_path, environment, "a/b")
    path = tmp_path / "record.json"
    path.write_text(json.dumps(record))
    for weights in tmp_path.rglob("*.safetensors"):
        weights.unlink()
    (trees,) = tmp_path.rglob("trees")
    if not listed:
        shutil.rmtree(trees)
    line = told(call(tmp_path, {}, "fetched_folder", str(path)))
    assert line.startswith(f"a/b: commit {COMMIT} is not whole in the hub's cache")
    assert f"delete {path}" in line


def test_a_damaged_list_of_weights_is_named(tmp_path, checkpoint):
    folder = tmp_path / "damaged"
    shutil.copytree(checkpoint, folder)
    (folder / "model.safetensors.index.json").write_text('{"weight_map": []}')
    with Hub({"a/b": folder}).running() as environment:
        line = told(call(tmp_path / "home", environment, "fetch", "a/b"))
    assert line == "a/b: model.safetensors.index.json is damaged; fetch it again"

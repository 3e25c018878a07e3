"""What a study says of a model: where it lies, on what it runs, and the model itself."""

from pathlib import Path

import pytest
import torch
from headimpact.models.locate import locate
from safetensors.torch import load_file, save_file

from headimpact.checkpoints import write_sums
from headimpact.guards import UserError
from headimpact.miniature.checkpoints import MAKERS, save
from headimpact.models.load import load, load_family, load_model

ENTRY = {"checkpoint": "a/b", "revision": "main", "digest": None}
IDENTITY = {**ENTRY, "dtype": "float32", "device": "cpu"}


@pytest.fixture
def folder(tmp_path):
    save(tmp_path, *MAKERS["qwen2_vl"]())
    return tmp_path


@pytest.mark.parametrize(
    ("gpu", "device", "dtype", "told"),
    [
        (False, "auto", "auto", ("cpu", "float32")),
        (True, "auto", "auto", ("cuda", "bfloat16")),
        (True, "cpu", "auto", ("cpu", "float32")),
        (True, "cuda", "float32", ("cuda", "float32")),
        (False, "cpu", "bfloat16", ("cpu", "bfloat16")),
    ],
)
def test_auto_is_told_as_what_it_is_here(monkeypatch, gpu, device, dtype, told):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: gpu)
    place, identity = locate({**ENTRY, "device": device, "dtype": dtype})
    assert place == "a/b" and identity == {**ENTRY, "device": told[0], "dtype": told[1]}


def test_a_gpu_that_is_not_there_is_told(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ValueError, match="device: cuda: torch finds no GPU here; set device"):
        locate({**IDENTITY, "device": "cuda"})


def test_what_was_fetched_is_told_by_its_commit(monkeypatch):
    there = {"record.json": (Path("/hub/there"), "c" * 40)}
    monkeypatch.setattr("headimpact.models.locate.fetched_folder", there.get)
    assert locate(IDENTITY, "record.json") == ("/hub/there", {**IDENTITY, "commit": "c" * 40})


def test_a_model_is_as_its_identity_says(folder):
    model, family = load(folder, {**IDENTITY, "dtype": "bfloat16", "device": "meta"})
    assert (model.dtype, model.device.type) == (torch.bfloat16, "meta") and not model.training
    # not the folder, which another machine has elsewhere
    assert model.name_or_path == model.config._name_or_path == "a/b"
    assert family.config.model_type == "qwen2_vl"
    plain = load_model(folder)
    assert (plain.dtype, plain.device.type, plain.training) == (torch.float32, "cpu", False)


def test_weights_that_are_missing_are_not_drawn_at_random(folder):
    path = folder / "model.safetensors"
    weights = load_file(path)
    gone = sorted(name for name in weights if name.startswith("model.layers.3."))
    for name in gone:
        del weights[name]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"weights of Qwen2VL\w+ are missing, among ") as error:
        load_model(folder)
    first = gone[0].removeprefix("model.")
    assert str(error.value).endswith(f"{first}; name another checkpoint")
    assert f": {len(gone)} weights" in str(error.value) and len(gone) > 9


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def altered(path):
    """A bit of the header, or of the opening brace."""
    content = bytearray(path.read_bytes())
    content[10 if path.suffix == ".safetensors" else 0] ^= 1
    path.write_bytes(content)


def misshapen(path):
    weights = load_file(path)
    name = next(name for name in weights if weights[name].ndim == 2)
    save_file({**weights, name: weights[name][1:].clone()}, path, metadata={"format": "pt"})


@pytest.mark.parametrize("spoil", [cut, empty, altered])
@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"]
)
def test_a_damaged_file_of_a_checkpoint_is_told_in_a_line(folder, name, spoil):
    spoil(folder / name)
    with pytest.raises(ValueError, match=r": not a checkpoint that Auto\w+ reads .*again") as error:
        load_family(folder)
    assert str(error.value).startswith(f"{folder}: ") and "\n" not in str(error.value)


@pytest.mark.parametrize("spoil", [cut, empty, altered, misshapen])
def test_damaged_weights_are_told_in_a_line(folder, spoil):
    spoil(folder / "model.safetensors")
    with pytest.raises(ValueError, match=r": not a checkpoint that Auto\w+ reads .*again") as error:
        load_model(folder)
    assert str(error.value).startswith(f"{folder}: ") and "\n" not in str(error.value)


def test_a_checkpoint_that_differs_from_its_sums_is_not_located(folder):
    entry = {**ENTRY, "checkpoint": str(folder), "device": "cpu", "dtype": "auto"}
    locate(entry)
    write_sums(folder)
    locate(entry)
    altered(folder / "model.safetensors")
    with pytest.raises(UserError, match=r"model\.safetensors: its SHA-256 is not the one in"):
        locate(entry)

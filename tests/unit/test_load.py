"""A checkpoint becomes a model on the wanted device; a damaged one is refused with its folder."""

import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from safetensors.torch import load_file, save_file

from headimpact.checkpoints import write_sums
from headimpact.guards import UserError
from headimpact.miniature.checkpoints import MAKERS, save
from headimpact.models.load import (
    load_family,
    load_model,
    load_untrained_model,
    resolve_device,
    resolve_dtype,
)

IDENTITY = {"checkpoint": "a/b", "revision": "main"}
COMMIT = "c" * 40


@pytest.fixture
def folder(tmp_path):
    save(tmp_path, *MAKERS["qwen2_vl"]())
    return tmp_path


@pytest.mark.parametrize(
    ("has_gpu", "device", "dtype", "resolved"),
    [
        (False, "auto", "auto", ("cpu", "float32")),
        (True, "auto", "auto", ("cuda", "bfloat16")),
        (True, "cpu", "auto", ("cpu", "float32")),
        (True, "cuda", "float32", ("cuda", "float32")),
        (False, "cpu", "bfloat16", ("cpu", "bfloat16")),
    ],
)
def test_auto_depends_on_the_machine(monkeypatch, has_gpu, device, dtype, resolved):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: has_gpu)
    device = resolve_device(device)
    assert (device, resolve_dtype(dtype, device)) == resolved


def test_a_missing_gpu_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(UserError, match=r"^device: cuda: "):
        resolve_device("cuda")


def test_a_fetched_checkpoint_is_identified_by_its_commit(scripts, monkeypatch):
    open_checkpoint = scripts("open_checkpoint")
    folders = {"record.json": (Path("/hub/snapshot"), COMMIT)}
    monkeypatch.setattr(open_checkpoint, "fetched_folder", folders.get)
    opened = open_checkpoint.open_checkpoint(IDENTITY, "record.json")
    assert opened == ("/hub/snapshot", {**IDENTITY, "commit": COMMIT})


def test_a_jobs_model_has_its_dtype_and_the_checkpoints_name(scripts, monkeypatch, folder):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    monkeypatch.setattr(
        scripts("open_checkpoint"), "fetched_folder", lambda record: (folder, COMMIT)
    )
    data = {**IDENTITY, "device": "auto", "dtype": "bfloat16"}
    job = SimpleNamespace(params=SimpleNamespace(model=data), input={"checkpoint": "record.json"})
    model, family, identity = scripts("open_model").open_model(job)
    assert (model.dtype, model.device.type) == (torch.bfloat16, "cpu") and not model.training
    # not the folder, which another machine has elsewhere
    assert model.name_or_path == model.config._name_or_path == "a/b"
    assert family.config.model_type == "qwen2_vl"
    assert identity == {**IDENTITY, "device": "cpu", "dtype": "bfloat16", "commit": COMMIT}


def test_a_model_is_loaded_in_float32_for_evaluation(folder):
    model = load_model(folder)
    assert (model.dtype, model.device.type, model.training) == (torch.float32, "cpu", False)


def test_missing_weights_are_not_initialised_at_random(folder):
    path = folder / "model.safetensors"
    weights = load_file(path)
    removed = sorted(name for name in weights if name.startswith("model.layers.3."))
    for name in removed:
        del weights[name]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(UserError) as error:
        load_model(folder)
    message, first = str(error.value), removed[0].removeprefix("model.")
    assert message.startswith(f"{folder}: {len(removed)} weights ") and len(removed) > 9
    assert first in message


def cut(path):
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def empty(path):
    path.write_bytes(b"")


def altered(path):
    """Flip a bit of the header, or of the opening brace."""
    content = bytearray(path.read_bytes())
    content[10 if path.suffix == ".safetensors" else 0] ^= 1
    path.write_bytes(content)


def misshapen(path):
    weights = load_file(path)
    name = next(name for name in weights if weights[name].ndim == 2)
    save_file({**weights, name: weights[name][1:].clone()}, path, metadata={"format": "pt"})


# LLaVA-OneVision has image tokens that see nothing, and unequal tiles; Gemma 4 has layers
# without projections of keys and values
@pytest.mark.parametrize("model_type", ["llava_onevision", "gemma4"])
def test_a_checkpoint_of_no_family_is_refused_with_the_types_that_are_read(folder, model_type):
    (folder / "config.json").write_text(json.dumps({"model_type": model_type}))
    refusal = f"{folder}: model type {model_type} is not one of gemma3, .*; name another checkpoint"
    with pytest.raises(UserError, match=f"^{refusal}$"):
        load_family(folder)


def check_refused(load, folder):
    with pytest.raises(UserError) as error:
        load(folder)
    assert str(error.value).startswith(f"{folder}: ") and "\n" not in str(error.value)


@pytest.mark.parametrize("damage", [cut, empty, altered])
@pytest.mark.parametrize(
    "name", ["config.json", "tokenizer.json", "tokenizer_config.json", "preprocessor_config.json"]
)
def test_a_damaged_file_of_a_checkpoint_is_refused_in_one_line(folder, name, damage):
    damage(folder / name)
    check_refused(load_family, folder)


@pytest.mark.parametrize("damage", [cut, empty, altered, misshapen])
def test_damaged_weights_are_refused_in_one_line(folder, damage):
    damage(folder / "model.safetensors")
    check_refused(load_model, folder)


def test_a_checkpoint_that_differs_from_its_sums_is_refused(folder, scripts):
    open_checkpoint = scripts("open_checkpoint").open_checkpoint
    data = {"checkpoint": str(folder), "revision": None}
    assert open_checkpoint(data) == (str(folder), data)
    write_sums(folder)
    assert open_checkpoint(data) == (str(folder), data)
    path = folder / "model.safetensors"
    altered(path)
    with pytest.raises(UserError) as error:
        open_checkpoint(data)
    assert str(error.value).startswith(f"{path}: ") and "SHA256SUMS" in str(error.value)


def test_an_untrained_model_has_the_checkpoint_s_shapes_and_weights_of_a_seed(checkpoints):
    folder = checkpoints / "qwen2_vl"
    trained = load_model(folder).state_dict()
    untrained, again, other = (
        load_untrained_model(folder, seed).state_dict() for seed in (3, 3, 4)
    )
    assert {n: t.shape for n, t in trained.items()} == {n: t.shape for n, t in untrained.items()}
    name = "model.language_model.layers.0.self_attn.q_proj.weight"
    assert untrained[name].equal(again[name])
    assert not untrained[name].equal(other[name]) and not untrained[name].equal(trained[name])
    model = load_untrained_model(folder, 0, "bfloat16")
    assert not model.training and model.dtype == torch.bfloat16

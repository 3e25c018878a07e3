"""An adapter on disk: loaded, and checked to be the one that was trained."""

import json

import pytest
import torch

from headimpact.guards import UserError
from headimpact.miniature.checkpoints import MAKERS
from headimpact.training.lora import adapter_digest, add_adapter, check_adapter, load_adapter

LORA = {"rank": 2, "alpha": 4, "dropout": 0.5, "targets": ["q_proj"]}


@pytest.fixture
def trained(tmp_path):
    """Folder and history of an adapter."""
    model, family = MAKERS["qwen2_vl"]()
    add_adapter(model, family, [3], **LORA).save_pretrained(tmp_path / "adapter")
    record = {"adapter": adapter_digest(tmp_path / "adapter"), "layers": [3]}
    (tmp_path / "history.json").write_text(json.dumps(record))
    return tmp_path / "adapter", tmp_path / "history.json"


def test_a_loaded_adapter_has_the_saved_weights_and_can_be_unloaded(model_and_family, tmp_path):
    name = next(
        name for name, make in MAKERS.items() if type(make()[1]) is type(model_and_family[1])
    )
    model, family = MAKERS[name]()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    adapted = add_adapter(model, family, [3, 7], **LORA)
    saved = {name: value for name, value in adapted.named_parameters() if "lora_" in name}
    for value in saved.values():
        torch.nn.init.normal_(value)
    adapted.save_pretrained(tmp_path)
    adapted.unload()
    adapted = load_adapter(model, tmp_path)
    assert not any(module.training for module in adapted.modules())
    loaded = {name: value for name, value in adapted.named_parameters() if "lora_" in name}
    assert loaded.keys() == saved.keys()
    assert all(torch.equal(value, saved[name]) for name, value in loaded.items())
    after = adapted.unload().state_dict()
    assert after.keys() == before.keys()
    assert all(torch.equal(value, before[name]) for name, value in after.items())


def test_a_trained_adapter_passes(trained):
    check_adapter(*trained)


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
@pytest.mark.parametrize("damage", ["cut", "altered"])
def test_an_altered_adapter_is_named(trained, name, damage):
    path = trained[0] / name
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content if damage == "altered" else content[:-1])
    with pytest.raises(UserError) as error:
        check_adapter(*trained)
    assert str(error.value).startswith(f"{trained[0]}: ")


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
def test_a_missing_file_is_named(trained, name):
    (trained[0] / name).unlink()
    model, _ = MAKERS["qwen2_vl"]()
    for read in (lambda: check_adapter(*trained), lambda: load_adapter(model, trained[0])):
        with pytest.raises(UserError) as error:
            read()
        assert str(error.value).startswith(f"{trained[0] / name}: missing")


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"adapter": "', "\udcff"])
def test_a_damaged_history_is_named(trained, text):
    trained[1].write_text(text, errors="surrogateescape")
    with pytest.raises(UserError) as error:
        check_adapter(*trained)
    assert str(error.value).startswith(f"{trained[1]}: ")

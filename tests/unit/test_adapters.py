"""An adapter on disk: whether it is the one that was trained."""

import json

import pytest

from headimpact.miniature.checkpoints import MAKERS
from headimpact.training.lora import add_adapter, check, digest

LORA = {"rank": 2, "alpha": 4, "dropout": 0, "targets": ["q_proj"]}


@pytest.fixture
def trained(tmp_path):
    model, family = MAKERS["qwen2_vl"]()
    add_adapter(model, family, [3], LORA).save_pretrained(tmp_path / "adapter")
    record = {"adapter": digest(tmp_path / "adapter"), "layers": [3]}
    (tmp_path / "history.json").write_text(json.dumps(record))
    return tmp_path / "adapter", tmp_path / "history.json"


def test_what_was_trained_passes(trained):
    check(*trained)


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
@pytest.mark.parametrize("damage", ["cut", "altered"])
def test_what_was_altered_is_named(trained, name, damage):
    path = trained[0] / name
    content = bytearray(path.read_bytes())
    content[-3] ^= 1
    path.write_bytes(content if damage == "altered" else content[:-1])
    with pytest.raises(ValueError, match=r"adapter: not as it was trained; delete it and run"):
        check(*trained)


@pytest.mark.parametrize("name", ["adapter_model.safetensors", "adapter_config.json"])
def test_what_is_missing_is_named(trained, name):
    (trained[0] / name).unlink()
    with pytest.raises(ValueError, match=rf"{name}: missing, and nothing else is read; delete"):
        check(*trained)


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"adapter": "', "\udcff"])
def test_a_history_that_cannot_be_read_is_named(trained, text):
    trained[1].write_text(text, errors="surrogateescape")
    with pytest.raises(ValueError, match=r"history\.json: damaged .*; delete it and run again"):
        check(*trained)

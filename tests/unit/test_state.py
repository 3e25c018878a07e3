"""A training that is interrupted and resumes, and what its settings do."""

import math

import pytest
import torch
from small_training import LORA, TRAINING, make_study, random_model, train

from headimpact.training import finetune as module
from headimpact.training import state
from headimpact.training.batches import Collator
from headimpact.training.losses import description_losses


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("scenes"))[3]


@pytest.fixture(scope="module")
def uninterrupted(items, tmp_path_factory):
    return train(items, tmp_path_factory.mktemp("uninterrupted"))


@pytest.mark.parametrize("epoch", [1, 3])
@pytest.mark.parametrize("method", ["_step", "perplexity"])
def test_an_interrupted_training_resumes_after_its_last_epoch(
    items, uninterrupted, tmp_path, monkeypatch, epoch, method
):
    """Bit for bit as without the interruption, and not from the start."""
    original, calls = getattr(module._Trainer, method), []
    calls_an_epoch = 3 if method == "_step" else 1

    def interrupt(self, *arguments):
        calls.append(1)
        if len(calls) == epoch * calls_an_epoch + 1:
            raise KeyboardInterrupt
        return original(self, *arguments)

    with monkeypatch.context() as patch:
        patch.setattr(module._Trainer, method, interrupt)
        with pytest.raises(KeyboardInterrupt):
            train(items, tmp_path)
    assert not (tmp_path / "adapter").exists()
    monkeypatch.setattr(torch, "load", None)  # a state is never read by it
    resumed = []
    monkeypatch.setattr(
        module._Trainer,
        method,
        lambda self, *arguments: resumed.append(1) or original(self, *arguments),
    )
    history, adapter = train(items, tmp_path)
    assert len(resumed) == (4 - epoch) * calls_an_epoch
    assert history == uninterrupted[0]
    assert all(torch.equal(value, uninterrupted[1][name]) for name, value in adapter.items())


def test_another_seed_trains_another_adapter(items, uninterrupted, tmp_path):
    history, adapter = train(items, tmp_path, training={**TRAINING, "seed": 4})
    assert history != uninterrupted[0]
    assert not all(torch.equal(value, uninterrupted[1][name]) for name, value in adapter.items())


def test_the_best_epoch_survives_an_interruption(items, tmp_path, monkeypatch):
    """It lies before the interruption; training resumes from the last epoch, not from the best."""
    perplexities = [5.0, 2.0, 3.0, 4.0]

    def train_until(folder, first_epoch, stop=None):
        """The weights after each epoch, and the adapter; None if interrupted in epoch `stop`."""
        weights = {}

        def perplexity(self, _items):
            epoch = first_epoch + len(weights)
            if epoch == stop:
                raise KeyboardInterrupt
            weights[epoch] = {name: weight.clone() for name, weight in self.weights.items()}
            return perplexities[epoch]

        monkeypatch.setattr(module._Trainer, "perplexity", perplexity)
        try:
            return weights, train(items, folder)
        except KeyboardInterrupt:
            return weights, None

    expected, _ = train_until(tmp_path / "uninterrupted", 0)
    interrupted, result = train_until(tmp_path / "interrupted", 0, stop=3)
    assert result is None and len(interrupted) == 3
    resumed, (history, adapter) = train_until(tmp_path / "interrupted", 3)
    assert [entry["perplexity"] for entry in history] == perplexities
    assert resumed.keys() == {3}
    assert all(torch.equal(value, resumed[3][name]) for name, value in expected[3].items())
    best = {name.replace(".default", ""): weight for name, weight in expected[1].items()}
    assert best.keys() == adapter.keys()
    assert all(torch.equal(best[name], value) for name, value in adapter.items())


@pytest.mark.parametrize("damage", ["cut", "altered", "emptied"])
def test_a_damaged_state_is_named(items, tmp_path, damage):
    training = {**TRAINING, "epochs": 1}
    train(items, tmp_path, training=training)
    path = tmp_path / "epochs/state.safetensors"
    data = bytearray(path.read_bytes())
    if damage == "altered":
        data[-5] ^= 1
    path.write_bytes({"cut": data[: len(data) // 2], "emptied": b""}.get(damage, data))
    with pytest.raises(ValueError, match=r"state\.safetensors: damaged .* delete it and run again"):
        train(items, tmp_path, training=training)


def test_a_full_disk_leaves_the_earlier_state(items, tmp_path, monkeypatch):
    def write_until_full(path, data):
        path.open("wb").write(data[:100])
        raise OSError(28, "No space left on device", str(path))

    train(items, tmp_path, training={**TRAINING, "epochs": 1})
    before = (tmp_path / "epochs/state.safetensors").read_bytes()
    monkeypatch.setattr(state.Path, "write_bytes", write_until_full)
    with pytest.raises(OSError, match="No space left"):
        train(items, tmp_path, training={**TRAINING, "epochs": 2})
    assert [path.name for path in (tmp_path / "epochs").iterdir()] == ["state.safetensors"]
    assert (tmp_path / "epochs/state.safetensors").read_bytes() == before


@pytest.mark.parametrize(
    "setting",
    [
        {"training": {**TRAINING, "weight_decay": 5.0}},
        {"training": {**TRAINING, "warmup": 0.0}},
        {"training": {**TRAINING, "learning_rate": 1e-2}},
        {"training": {**TRAINING, "batch_size": 5}},
        {"lora": {**LORA, "dropout": 0.5}},
        {"lora": {**LORA, "alpha": 16}},
    ],
    ids=["weight_decay", "warmup", "learning_rate", "batch_size", "dropout", "alpha"],
)
def test_every_setting_changes_the_adapter(items, uninterrupted, tmp_path, setting):
    _, adapter = train(items, tmp_path, **setting)
    assert not any(torch.equal(value, uninterrupted[1][name]) for name, value in adapter.items())


def test_the_learning_rate_warms_up_and_falls_over_all_epochs(uninterrupted):
    """12 steps, of which round(0.2 x 12) warm up; then half a cosine."""
    rates = [entry["learning_rate"] for entry in uninterrupted[0]]
    last_steps = [2, 5, 8, 11]
    cosine = [(1 + math.cos(math.pi * (step - 2) / 10)) / 2 for step in last_steps]
    assert rates == pytest.approx([TRAINING["learning_rate"] * factor for factor in cosine])


def test_gradients_are_clipped(items, uninterrupted, tmp_path, monkeypatch):
    """Clipped to almost nothing, they train almost nothing."""
    monkeypatch.setattr(module, "MAX_GRADIENT_NORM", 1e-14)
    _, clipped = train(items, tmp_path, training={**TRAINING, "weight_decay": 0.0})

    def largest(adapter):
        return max(value.abs().max() for name, value in adapter.items() if "lora_B" in name)

    assert largest(clipped) < 1e-4 < largest(uninterrupted[1])


def test_validation_uses_no_dropout(items, tmp_path):
    """The history's perplexity is that of the adapter in evaluation mode."""
    model, family = random_model()
    options = {"training": {**TRAINING, "epochs": 1}, "lora": {**LORA, "dropout": 0.9}}
    history, _ = train(items, tmp_path, model=(model, family), **options)
    model.eval()
    collate = Collator(family)
    with torch.no_grad():
        losses = [description_losses(model, family, collate([i])) for i in items[10:]]
    mean = sum(loss.item() / count.item() for loss, count in losses) / len(losses)
    assert history[0]["perplexity"] == pytest.approx(math.exp(mean), rel=1e-4)

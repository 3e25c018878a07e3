"""A training that stops and goes on, a GPU that is too small, and values that are not finite."""

import math
from dataclasses import replace

import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from headimpact.dataset import scenes
from headimpact.dataset.coco import CocoFolder
from headimpact.guards import AdaptiveBatch
from headimpact.miniature.checkpoints import MAKERS
from headimpact.models.features import compute
from headimpact.scores import attention as attending
from headimpact.training import finetune as module
from headimpact.training.batches import Collator, make_items
from headimpact.training.finetune import finetune

LORA = {"rank": 4, "alpha": 8, "dropout": 0.1, "targets": ["q_proj", "v_proj"]}
TRAINING = {
    **{"epochs": 4, "batch_size": 4, "by_length": True, "learning_rate": 2e-2},
    **{"warmup": 0.2, "weight_decay": 0.1, "seed": 3},
}
SHORTCUTS = {"few_logits": True, "frozen_layers": True}


def fresh(name="qwen2_vl"):
    torch.manual_seed(0)
    model, family = MAKERS[name]()
    return model.eval(), family


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    """A folder of scenes, their samples, objects and Items."""
    root = tmp_path_factory.mktemp("scenes")
    scenes.write(root, 14, 3, scenes.Look())
    folder = CocoFolder(root, "scenes")
    samples = folder.captions().drop_duplicates("image_id")
    samples = samples.assign(sample_id=range(100, 114)).reset_index(drop=True)
    texts = ["a small red circle", "a large blue moon", "a cat"]
    objects = pd.DataFrame(
        {
            "sample_id": samples["sample_id"],
            "object_id": range(14),
            "description": [texts[i % 3] for i in range(14)],
        }
    )
    model, family = fresh()
    known = {sample.sample_id: f for sample, f in compute(model, family, folder, samples)}
    return folder, samples, objects, make_items(family, known, samples, objects)


def train(items, work, layers=(4, 9), training=TRAINING, model=None, lora=LORA):
    """History and adapter of a training of ten Items, judged by four."""
    model, family = model or fresh()
    parts = (list(layers), items[:10], items[10:], lora, training, SHORTCUTS)
    history = finetune(model, family, *parts, work / "epochs", work / "adapter")
    return history, load_file(work / "adapter/adapter_model.safetensors")


@pytest.fixture(scope="module")
def whole(study, tmp_path_factory):
    return train(study[3], tmp_path_factory.mktemp("whole"))


@pytest.mark.parametrize("epoch", [1, 3])
@pytest.mark.parametrize("where", ["_step", "judge"])
def test_a_training_goes_on_after_its_last_epoch(study, whole, tmp_path, monkeypatch, epoch, where):
    """Bit for bit what it is without a break, and not from the start."""
    whole_step, calls = getattr(module._Learner, where), []
    batches = 3 if where == "_step" else 1

    def breaks(self, *given):
        calls.append(1)
        if len(calls) == epoch * batches + 1:
            raise KeyboardInterrupt
        return whole_step(self, *given)

    with monkeypatch.context() as patch:
        patch.setattr(module._Learner, where, breaks)
        with pytest.raises(KeyboardInterrupt):
            train(study[3], tmp_path)
    assert not (tmp_path / "adapter").exists()
    # what torch.save wrote is never read
    monkeypatch.setattr(torch, "load", None)
    again = []
    monkeypatch.setattr(
        module._Learner, where, lambda self, *given: again.append(1) or whole_step(self, *given)
    )
    history, adapter = train(study[3], tmp_path)
    assert len(again) == (4 - epoch) * batches
    assert history == whole[0]
    assert all(torch.equal(value, whole[1][name]) for name, value in adapter.items())


def test_another_start_ends_elsewhere(study, whole, tmp_path):
    history, adapter = train(study[3], tmp_path, training={**TRAINING, "seed": 4})
    assert history != whole[0]
    assert not all(torch.equal(value, whole[1][name]) for name, value in adapter.items())


def test_the_best_epoch_is_kept_across_a_break(study, tmp_path, monkeypatch):
    """It lies before the break; what is learned after it goes on from what was worse."""
    judged = [5.0, 2.0, 3.0, 4.0]

    def train_to(folder, stop):
        """The weights at the end of each epoch, and what `train` gives; no further than `stop`."""
        learned = {}

        def judge(self, *_given):
            epoch = len(learned) if folder.name == "whole" else len(done) + len(learned)
            if epoch == stop:
                raise KeyboardInterrupt
            learned[epoch] = {name: weight.clone() for name, weight in self.weights.items()}
            return judged[epoch]

        monkeypatch.setattr(module._Learner, "judge", judge)
        try:
            return learned, train(study[3], folder)
        except KeyboardInterrupt:
            return learned, None

    done = {}
    whole, _ = train_to(tmp_path / "whole", None)
    done, nothing = train_to(tmp_path / "broken", 3)
    assert nothing is None and len(done) == 3
    rest, (history, adapter) = train_to(tmp_path / "broken", None)
    assert [one["perplexity"] for one in history] == judged
    assert rest.keys() == {3}
    assert all(torch.equal(value, rest[3][name]) for name, value in whole[3].items())
    best = {name.replace(".default", ""): weight for name, weight in whole[1].items()}
    assert best.keys() == adapter.keys()
    assert all(torch.equal(best[name], value) for name, value in adapter.items())


@pytest.mark.parametrize(
    "told",
    [
        {"training": {**TRAINING, "weight_decay": 5.0}},
        {"training": {**TRAINING, "warmup": 0.0}},
        {"training": {**TRAINING, "learning_rate": 1e-2}},
        {"training": {**TRAINING, "batch_size": 5}},
        {"lora": {**LORA, "dropout": 0.5}},
        {"lora": {**LORA, "alpha": 16}},
    ],
    ids=lambda told: str(told)[:20],
)
def test_what_a_training_is_told_acts(study, whole, tmp_path, told):
    _, adapter = train(study[3], tmp_path, **told)
    assert not any(torch.equal(value, whole[1][name]) for name, value in adapter.items())


def test_the_learning_rate_warms_up_and_falls_over_all_epochs(whole):
    """12 steps, of which round(0.2 x 12) warm up; then half a cosine."""
    told = [one["learning_rate"] for one in whole[0]]
    last = [2, 5, 8, 11]  # the epochs' last steps
    cosine = [(1 + math.cos(math.pi * (step - 2) / 10)) / 2 for step in last]
    assert told == pytest.approx([TRAINING["learning_rate"] * part for part in cosine])


def test_a_large_gradient_is_cut(study, whole, tmp_path, monkeypatch):
    """To nothing, and nothing is learned."""
    monkeypatch.setattr(module, "LARGEST_GRADIENT", 1e-14)
    _, adapter = train(study[3], tmp_path, training={**TRAINING, "weight_decay": 0.0})
    moved = [value.abs().max() for name, value in adapter.items() if "lora_B" in name]
    assert max(moved) < 1e-4 < max(v.abs().max() for n, v in whole[1].items() if "lora_B" in n)


def test_validation_drops_nothing_out(study, tmp_path):
    """The perplexity of the best epoch is that of the adapter as it is used."""
    training = {**TRAINING, "epochs": 1}
    lora = {**LORA, "dropout": 0.9}
    model, family = fresh()
    history, _ = train(study[3], tmp_path, training=training, model=(model, family), lora=lora)
    model.eval()
    collate = Collator(family)
    with torch.no_grad():
        parts = [module.description_losses(model, family, collate([i])) for i in study[3][10:]]
    mean = sum(loss.item() / count.item() for loss, count in parts) / len(parts)
    assert history[0]["perplexity"] == pytest.approx(math.exp(mean), rel=1e-4)


@pytest.mark.parametrize("damage", ["cut", "altered", "emptied"])
def test_a_damaged_state_is_named(study, tmp_path, monkeypatch, damage):
    train_one = {**TRAINING, "epochs": 1}
    train(study[3], tmp_path, training=train_one)
    state = tmp_path / "epochs/state.safetensors"
    data = bytearray(state.read_bytes())
    if damage == "altered":
        data[-5] ^= 1
    state.write_bytes({"cut": data[: len(data) // 2], "emptied": b""}.get(damage, data))
    with pytest.raises(ValueError, match=r"state\.safetensors: damaged .* delete it and run again"):
        train(study[3], tmp_path, training=train_one)


def test_nothing_half_lies_where_a_state_is_kept(study, tmp_path, monkeypatch):
    def full(path, data):
        path.open("wb").write(data[:100])
        raise OSError(28, "No space left on device", str(path))

    train(study[3], tmp_path, training={**TRAINING, "epochs": 1})
    before = (tmp_path / "epochs/state.safetensors").read_bytes()
    monkeypatch.setattr(module.epochs.Path, "write_bytes", full)
    with pytest.raises(OSError, match="No space left"):
        train(study[3], tmp_path, training={**TRAINING, "epochs": 2})
    assert [path.name for path in (tmp_path / "epochs").iterdir()] == ["state.safetensors"]
    assert (tmp_path / "epochs/state.safetensors").read_bytes() == before


def small_gpu(monkeypatch, most):
    """A model's pass of more than `most` items runs out of memory, as torch says it."""
    sizes = []
    whole = Collator.__call__

    def call(self, part):
        sizes.append(len(part))
        if len(part) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return whole(self, part)

    monkeypatch.setattr(Collator, "__call__", call)
    return sizes


@pytest.mark.parametrize("layers", [(0, 9), (4, 9)])
def test_a_training_halves_its_batches_on_a_small_gpu(study, tmp_path, monkeypatch, capfd, layers):
    """The same optimiser steps: losses, learning rates and adapter are those of whole batches."""
    lora = {**LORA, "dropout": 0}  # what is dropped is drawn part by part
    history, adapter = train(study[3], tmp_path / "whole", layers, lora=lora)
    sizes = small_gpu(monkeypatch, 1)
    again, small = train(study[3], tmp_path / "small", layers, lora=lora)
    assert sizes[:3] == [4, 2, 1] and set(sizes[3:]) == {1}
    told = capfd.readouterr().err
    assert "training: the GPU is out of memory, continuing with batches of 2" in told
    assert "training: the GPU is out of memory, continuing with batches of 1" in told
    for one, other in zip(history, again, strict=True):
        assert one == pytest.approx(other, rel=2e-4)
    for name, value in adapter.items():
        torch.testing.assert_close(value, small[name], atol=2e-4, rtol=1e-2)


def test_a_gpu_too_small_for_one_says_so(study, tmp_path, monkeypatch):
    small_gpu(monkeypatch, 0)
    with pytest.raises(MemoryError, match="training: the GPU has too little memory for a single"):
        train(study[3], tmp_path)


def test_parts_are_run_again_after_a_halving():
    seen = []

    def run(part):
        seen.append(len(part))
        if len(part) > 3 or (len(part) == 3 and seen.count(3) == 2):
            raise torch.OutOfMemoryError
        return sum(part)

    room = AdaptiveBatch(100, "test")
    assert sum(room(run, list(range(10)))) == 45
    assert seen == [10, 5, 3, 3, 2, 2, 2, 2, 2] and room.size == 2
    assert room(run, [1, 2, 3, 4]) == [3, 7]


def test_attention_is_the_same_in_halved_batches(study, monkeypatch, capfd):
    folder, samples, _, _ = study
    model, family = fresh()
    texts = ["a cat", "a dog", "a large red moon", "grass"]
    objects = pd.DataFrame({"sample_id": [100] * 4, "object_id": range(4), "description": texts})
    given = (model, family, folder, samples[:1], objects)
    (whole,) = attending.attend(*given, 16)
    score, sizes = attending.score, []

    def small(*given, **options):
        sizes.append(len(given[-1]))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError
        return score(*given, **options)

    monkeypatch.setattr(attending, "score", small)
    (halved,) = attending.attend(*given, 3)
    assert sizes == [3, 2, 2]
    assert whole["attended"] == halved["attended"]
    reported = capfd.readouterr().err
    assert "attention: the GPU is out of memory, continuing with batches of 2" in reported


def spoil(model, family, layer):
    """From this decoder layer on, attention gives no numbers."""
    weight = model.get_submodule(family.decoder).layers[layer].self_attn.o_proj.weight
    weight.data[0, 0] = float("inf")


@pytest.mark.parametrize(
    ("layer", "layers"), [(7, (2, 9)), (10, (2, 9)), (3, (6, 9))], ids=["above", "top", "frozen"]
)
def test_a_loss_that_is_not_finite_names_sample_and_layer(study, tmp_path, layer, layers):
    model, family = fresh()
    spoil(model, family, layer)
    with pytest.raises(FloatingPointError, match=rf"sample 1\d\d: .*in layer {layer}$"):
        train(study[3], tmp_path, layers, model=(model, family))


def test_features_that_are_not_finite_name_their_sample(study, tmp_path):
    items = list(study[3])
    items[4] = replace(items[4], features=items[4].features * float("nan"))
    with pytest.raises(FloatingPointError, match=r"sample 104: .*before layer 0"):
        train(items, tmp_path, (0, 1))


def test_a_gradient_that_is_not_finite_names_its_batch_and_layer(study, tmp_path, monkeypatch):
    def spoilt(weights, _largest):
        last = list(weights)[-1]
        last.grad[0, 0] = float("nan")
        return last.grad.norm()

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", spoilt)
    with pytest.raises(FloatingPointError, match=r"samples 1\d\d, .*the gradient in layer 9 is"):
        train(study[3], tmp_path)


def test_finite_gradients_of_no_finite_norm_are_told_too(study, tmp_path):
    model, family = fresh()
    layer = model.get_submodule(family.decoder).layers[9].self_attn.o_proj
    layer.register_full_backward_hook(lambda _m, given, _out: (given[0] * 1e25,))
    with pytest.raises(FloatingPointError, match=r"the gradient in layer 9 is not finite"):
        train(study[3], tmp_path, (9,), model=(model, family))


def test_a_training_that_diverges_says_so(study, tmp_path, monkeypatch):
    monkeypatch.setattr(
        module._Learner, "_losses", lambda *_: (torch.tensor([2900.0]), torch.tensor([4]))
    )
    monkeypatch.setattr(module._Learner, "learn", lambda *_: 725.0)
    with pytest.raises(FloatingPointError, match=r"loss of 725 has no perplexity; lower training"):
        train(study[3], tmp_path)

"""LoRA: what is adapted, what stays, and that the result loads."""

import json

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from headimpact.dataset import scenes
from headimpact.dataset.coco import CocoFolder
from headimpact.guards import AdaptiveBatch
from headimpact.miniature.checkpoints import MAKERS
from headimpact.models import features
from headimpact.models.continuations import score
from headimpact.training.batches import Collator, drawn, like_lengths, make_items
from headimpact.training.finetune import description_losses, finetune
from headimpact.training.frozen import handing_on, keep_states
from headimpact.training.lora import add_adapter, load_adapters

LORA = {"rank": 8, "alpha": 16, "dropout": 0, "targets": ["q_proj", "k_proj", "v_proj"]}
TRAINING = {
    "epochs": 3,
    "batch_size": 4,
    "by_length": True,
    "learning_rate": 5e-3,
    "warmup": 0.0,
    "weight_decay": 0.0,
    "seed": 0,
}
SHORTCUTS = {"few_logits": True, "frozen_layers": True}


def fresh(family):
    """The random model of that family as it was made."""
    torch.manual_seed(0)
    name = next(name for name, make in MAKERS.items() if type(make()[1]) is type(family))
    torch.manual_seed(0)
    model, family = MAKERS[name]()
    return model.eval(), family


@pytest.fixture(scope="module", params=sorted(MAKERS))
def tuned(request, tmp_path_factory):
    """A random miniature, trained a little on drawn scenes."""
    folder = tmp_path_factory.mktemp("tuned")
    scenes.write(folder, 12, 3, scenes.Look())
    captions = json.loads((folder / "annotations/captions_scenes.json").read_text())
    samples = pd.DataFrame(captions["images"]).rename(columns={"id": "sample_id"})
    texts = ["a small red circle", "a large blue moon", "a cat"]
    objects = pd.DataFrame(
        {
            "sample_id": samples["sample_id"],
            "description": [texts[i % 3] for i in range(len(samples))],
        }
    )
    torch.manual_seed(0)
    model, family = MAKERS[request.param]()
    model.eval()
    before = {name: value.clone() for name, value in model.state_dict().items()}
    computed = features.compute(model, family, CocoFolder(folder, "scenes"), samples)
    known = {sample.sample_id: tensor for sample, tensor in computed}
    items = make_items(family, known, samples, objects)
    history = finetune(
        model,
        family,
        [2, 9],
        items,
        items[:4],
        LORA,
        TRAINING,
        SHORTCUTS,
        folder / "work",
        folder / "adapter",
    )
    return model, family, before, items, history, folder


def test_adapted_are_exactly_q_k_v_of_the_chosen_layers(made):
    model, family = fresh(made[1])
    adapted = add_adapter(model, family, [0, 11], LORA)
    wanted = {
        f"{family.decoder}.layers.{layer}.self_attn.{name}"
        for layer in (0, 11)
        for name in LORA["targets"]
    }
    assert set(adapted.targeted_module_names) == wanted
    trained = {name for name, p in adapted.named_parameters() if p.requires_grad}
    assert all(".lora_A." in name or ".lora_B." in name for name in trained)
    assert len(trained) == 2 * len(wanted)


def test_a_target_that_is_not_there_is_refused():
    model, family = MAKERS["qwen2_vl"]()
    with pytest.raises(ValueError, match=r"lora\.targets"):
        add_adapter(model, family, [0, 1], {**LORA, "targets": ["q_proj", "query"]})


def test_all_else_stays_bit_for_bit(tuned):
    model, _family, before, *_ = tuned
    after = {name.replace(".base_layer", ""): value for name, value in model.state_dict().items()}
    frozen = {name: value for name, value in after.items() if "lora_" not in name}
    assert frozen.keys() == before.keys()
    assert all(torch.equal(frozen[name], before[name]) for name in before)
    moved = [value for name, value in after.items() if "lora_B" in name]
    assert len(moved) == 6 and all(value.abs().max() > 0 for value in moved)


def test_the_best_epoch_is_kept_and_loads(tuned):
    _, family, before, items, history, folder = tuned
    curve = [entry["perplexity"] for entry in history]
    assert len(curve) == TRAINING["epochs"]
    model, _ = fresh(family)
    model.load_state_dict(before)
    (adapted,) = load_adapters(model, {"top": folder / "adapter"}).values()
    with adapted():
        scored = [
            score(model, family, item.features, item.grid, [item.sequence])[0] for item in items[:4]
        ]
    mean = np.mean([one.log_probabilities.mean() for one in scored])
    assert np.exp(-mean) == pytest.approx(min(curve), rel=1e-4)


def test_padding_and_batching_change_no_loss(tuned):
    model, family, _, items, *_ = tuned
    collate = Collator(family)
    with torch.no_grad():
        together, counts = description_losses(model, family, collate(items[:4]))
        alone = [description_losses(model, family, collate([item]))[0].item() for item in items[:4]]
    assert counts.tolist() == [len(i.sequence.ids) - i.sequence.start for i in items[:4]]
    assert together.tolist() == pytest.approx(alone, rel=1e-5)


def test_a_batch_is_of_like_lengths_and_everyone_learns_once():
    torch.manual_seed(0)
    lengths = torch.randint(10, 99, (11,)).tolist()
    epochs = [[i for batch in drawn(lengths, 4) for i in batch] for _ in range(12)]
    assert all(sorted(epoch) == list(range(11)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 12
    shorter_first = set()
    for epoch in epochs:
        first, second = ({lengths[i] for i in epoch[k : k + 4]} for k in (0, 4))
        assert max(first) <= min(second) or max(second) <= min(first)
        shorter_first.add(max(first) <= min(second))
    assert shorter_first == {True, False}, "the order of the batches is drawn"
    assert [len(part) for part in like_lengths(lengths, 4)] == [4, 4, 3]


@pytest.mark.parametrize("off", ["few_logits", "frozen_layers"])
def test_without_a_shortcut_a_training_is_the_same(tuned, tmp_path, off):
    """The same losses, epoch by epoch, and the same adapter, from the same items and seed."""
    found = []
    for number, shortcuts in enumerate((SHORTCUTS, {**SHORTCUTS, off: False})):
        model, family = fresh(tuned[1])
        widths, below = [], []
        decoder = model.get_submodule(family.decoder)
        decoder.layers[3].mlp.register_forward_hook(lambda *_, seen=below: seen.append(1))
        model.lm_head.register_forward_hook(lambda _m, _i, out, seen=widths: seen.append(out.shape))
        where = tmp_path / str(number)
        history = finetune(
            model,
            family,
            [4, 9],
            tuned[3],
            tuned[3][:4],
            LORA,
            TRAINING,
            shortcuts,
            where / "work",
            where / "adapter",
        )
        found.append((history, load_file(where / "adapter/adapter_model.safetensors")))
        # 12 items and 4 in batches of 4: 4 passes of the frozen layers, or 4 in each of 3 epochs
        assert len(below) == (4 if shortcuts["frozen_layers"] else 12)
        trained = [shape for shape in widths if shape[1] > 1]
        full = max(len(item.sequence.ids) for item in tuned[3])
        assert all((shape[1] < full / 2) == shortcuts["few_logits"] for shape in trained)
    (history, adapter), (plain_history, plain_adapter) = found
    for one, other in zip(history, plain_history, strict=True):
        for key in ("loss", "perplexity"):
            assert one[key] == pytest.approx(other[key], rel=1e-5)
    assert adapter.keys() == plain_adapter.keys()
    for key, value in adapter.items():
        torch.testing.assert_close(value, plain_adapter[key], atol=1e-5, rtol=1e-4)


def test_batches_by_length_are_other_batches(tuned, tmp_path):
    losses = []
    for by_length in (True, False):
        model, family = fresh(tuned[1])
        training = {**TRAINING, "by_length": by_length, "epochs": 1}
        given = (tuned[3], tuned[3][:4], LORA, training, SHORTCUTS, tmp_path / str(by_length))
        history = finetune(model, family, [11], *given, tmp_path / f"adapter {by_length}")
        losses.append(history[0]["loss"])
    assert losses[0] != pytest.approx(losses[1], rel=1e-6)


def test_kept_states_are_what_the_layer_is_given(tuned):
    model, family = fresh(tuned[1])
    item, whole = tuned[3][0], []
    layer = model.get_submodule(family.decoder).layers[5]
    hook = layer.register_forward_pre_hook(lambda _layer, given: whole.append(given[0]))
    score(model, family, item.features, item.grid, [item.sequence])
    hook.remove()
    above = []
    layer.mlp.register_forward_hook(lambda *_: above.append(1))
    (kept, *_) = keep_states(model, family, tuned[3][:3], 5, AdaptiveBatch(2, "test"))
    assert not above, "what is trained is not computed"
    assert kept.hidden.shape == (len(item.sequence.ids), whole[0].shape[-1])
    torch.testing.assert_close(kept.hidden[:-1], whole[0][0], atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="stop"), handing_on(model, family, slice(5)):
        raise ValueError("stop")
    assert "forward" not in vars(model.get_submodule(family.decoder).layers[0])


def test_labels_are_the_description_alone(tuned):
    _, family, _, items, *_ = tuned
    batch = Collator(family)(items[:3])
    for item, labels in zip(items[:3], batch["labels"], strict=True):
        spoken = labels[labels != -100].tolist()
        assert batch["attention_mask"].all() or family.prompt_sees_both_ways
        assert spoken == list(item.sequence.ids[item.sequence.start :])

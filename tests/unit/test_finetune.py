"""Fine-tuning: what is adapted, what stays, and that the result loads."""

import json
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch
from safetensors.torch import load_file

from headimpact.dataset import scenes
from headimpact.dataset.coco import CocoFolder
from headimpact.guards import AdaptiveBatch, UserError
from headimpact.miniature.checkpoints import MAKERS
from headimpact.models import features
from headimpact.models.continuations import score_continuations
from headimpact.models.family import EncodedImage
from headimpact.models.layout import IGNORE
from headimpact.training.batches import (
    Collator,
    make_items,
    shuffled_batches,
    sorted_by_length,
)
from headimpact.training.finetune import finetune
from headimpact.training.frozen import add_hidden_states, skip_layers
from headimpact.training.lora import add_adapter, load_adapter
from headimpact.training.losses import description_losses

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
ADD_LORA = partial(add_adapter, **LORA)


def fresh(family):
    """The random model of that family as it was made."""
    name = next(name for name, make in MAKERS.items() if type(make()[1]) is type(family))
    torch.manual_seed(0)
    model, family = MAKERS[name]()
    return model.eval(), family


@pytest.fixture(scope="module", params=sorted(MAKERS))
def trained(request, tmp_path_factory):
    """A random miniature, trained a little on drawn scenes."""
    folder = tmp_path_factory.mktemp("trained")
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
    image_features = {sample.sample_id: tensor for sample, tensor in computed}
    items = make_items(family, image_features, samples, objects)
    history = finetune(
        model,
        family,
        [2, 9],
        items,
        items[:4],
        ADD_LORA,
        TRAINING,
        SHORTCUTS,
        folder / "state",
        folder / "adapter",
    )
    return model, family, before, items, history, folder


def test_only_q_k_v_of_the_chosen_layers_are_adapted(model_and_family):
    model, family = fresh(model_and_family[1])
    adapted = add_adapter(model, family, [0, 11], **LORA)
    expected = {
        f"{family.decoder}.layers.{layer}.self_attn.{name}"
        for layer in (0, 11)
        for name in LORA["targets"]
    }
    assert set(adapted.targeted_module_names) == expected
    trainable = {name for name, p in adapted.named_parameters() if p.requires_grad}
    assert all(".lora_A." in name or ".lora_B." in name for name in trainable)
    assert len(trainable) == 2 * len(expected)


def test_a_missing_target_is_refused():
    model, family = MAKERS["qwen2_vl"]()
    with pytest.raises(UserError, match=r"methods: targets"):
        add_adapter(model, family, [0, 1], **{**LORA, "targets": ["q_proj", "query"]})


def test_frozen_weights_stay_bit_for_bit(trained):
    model, _family, before, *_ = trained
    after = {name.replace(".base_layer", ""): value for name, value in model.state_dict().items()}
    frozen = {name: value for name, value in after.items() if "lora_" not in name}
    assert frozen.keys() == before.keys()
    assert all(torch.equal(frozen[name], before[name]) for name in before)
    moved = [value for name, value in after.items() if "lora_B" in name]
    assert len(moved) == 6 and all(value.abs().max() > 0 for value in moved)


def test_the_saved_adapter_has_the_best_epochs_perplexity(trained):
    _, family, before, items, history, folder = trained
    curve = [entry["perplexity"] for entry in history]
    assert len(curve) == TRAINING["epochs"]
    model, _ = fresh(family)
    model.load_state_dict(before)
    load_adapter(model, folder / "adapter")
    means = []
    for item in items[:4]:
        image = EncodedImage(item.features, item.grid)
        (score,) = score_continuations(model, family, [(image, item.sequence)])
        means.append(score.log_probabilities.mean())
    mean = np.mean(means)
    assert np.exp(-mean) == pytest.approx(min(curve), rel=1e-4)


def test_padding_changes_no_loss(trained):
    model, family, _, items, *_ = trained
    collate = Collator(family)
    with torch.no_grad():
        losses, counts = description_losses(model, family, collate(items[:4]))
        unpadded = [
            description_losses(model, family, collate([item]))[0].item() for item in items[:4]
        ]
    assert counts.tolist() == [len(i.sequence.ids) - i.sequence.start for i in items[:4]]
    assert losses.tolist() == pytest.approx(unpadded, rel=1e-5)


def test_batches_by_length_hold_each_item_once_and_are_shuffled():
    torch.manual_seed(0)
    lengths = torch.randint(10, 99, (11,)).tolist()
    epochs = [[i for batch in shuffled_batches(lengths, 4) for i in batch] for _ in range(12)]
    assert all(sorted(epoch) == list(range(11)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 12
    shorter_first = set()
    for epoch in epochs:
        first, second = ({lengths[i] for i in epoch[k : k + 4]} for k in (0, 4))
        assert max(first) <= min(second) or max(second) <= min(first)
        shorter_first.add(max(first) <= min(second))
    assert shorter_first == {True, False}, "the order of the batches is random"
    assert [len(batch) for batch in sorted_by_length(lengths, 4)] == [4, 4, 3]


@pytest.mark.parametrize("shortcut", ["few_logits", "frozen_layers"])
def test_a_shortcut_changes_no_result(trained, tmp_path, shortcut):
    """The same losses, epoch by epoch, and the same adapter, from the same items and seed."""
    results = []
    for number, shortcuts in enumerate((SHORTCUTS, {**SHORTCUTS, shortcut: False})):
        model, family = fresh(trained[1])
        logit_shapes, frozen_passes = [], []
        decoder = model.get_submodule(family.decoder)
        decoder.layers[3].mlp.register_forward_hook(
            lambda *_, passes=frozen_passes: passes.append(1)
        )
        model.lm_head.register_forward_hook(
            lambda _module, _input, output, shapes=logit_shapes: shapes.append(output.shape)
        )
        folder = tmp_path / str(number)
        history = finetune(
            model,
            family,
            [4, 9],
            trained[3],
            trained[3][:4],
            ADD_LORA,
            TRAINING,
            shortcuts,
            folder / "state",
            folder / "adapter",
        )
        results.append((history, load_file(folder / "adapter/adapter_model.safetensors")))
        # 12 items and 4 in batches of 4: 4 passes of the frozen layers, or 4 in each of 3 epochs
        assert len(frozen_passes) == (4 if shortcuts["frozen_layers"] else 12)
        # add_hidden_states asks for a single logit
        shapes = [shape for shape in logit_shapes if shape[1] > 1]
        length = max(len(item.sequence.ids) for item in trained[3])
        assert all((shape[1] < length / 2) == shortcuts["few_logits"] for shape in shapes)
    (history, adapter), (plain_history, plain_adapter) = results
    for entry, plain_entry in zip(history, plain_history, strict=True):
        for key in ("loss", "perplexity"):
            assert entry[key] == pytest.approx(plain_entry[key], rel=1e-5)
    assert adapter.keys() == plain_adapter.keys()
    for key, value in adapter.items():
        torch.testing.assert_close(value, plain_adapter[key], atol=1e-5, rtol=1e-4)


def test_by_length_changes_the_batches(trained, tmp_path):
    losses = []
    for by_length in (True, False):
        model, family = fresh(trained[1])
        training = {**TRAINING, "by_length": by_length, "epochs": 1}
        arguments = (trained[3], trained[3][:4], ADD_LORA, training, SHORTCUTS)
        folders = tmp_path / str(by_length), tmp_path / f"adapter {by_length}"
        history = finetune(model, family, [11], *arguments, *folders)
        losses.append(history[0]["loss"])
    assert losses[0] != pytest.approx(losses[1], rel=1e-6)


def test_hidden_states_are_the_layers_input(trained):
    model, family = fresh(trained[1])
    item, inputs = trained[3][0], []
    layer = model.get_submodule(family.decoder).layers[5]
    hook = layer.register_forward_pre_hook(lambda _layer, arguments: inputs.append(arguments[0]))
    image = EncodedImage(item.features, item.grid)
    score_continuations(model, family, [(image, item.sequence)])
    hook.remove()
    passes = []
    layer.mlp.register_forward_hook(lambda *_: passes.append(1))
    items = add_hidden_states(model, family, trained[3][:3], 5, AdaptiveBatch(2, "test"))
    assert not passes, "the layer itself and those above it must be skipped"
    assert items[0].hidden.shape == (len(item.sequence.ids), inputs[0].shape[-1])
    torch.testing.assert_close(items[0].hidden[:-1], inputs[0][0], atol=1e-5, rtol=1e-5)
    with pytest.raises(ValueError, match="stop"), skip_layers(model, family, slice(5)):
        raise ValueError("stop")
    assert "forward" not in vars(model.get_submodule(family.decoder).layers[0])


def test_labels_are_the_description_alone(trained):
    _, family, _, items, *_ = trained
    batch = Collator(family)(items[:3])
    for item, labels in zip(items[:3], batch["labels"], strict=True):
        description = labels[labels != IGNORE].tolist()
        assert batch["attention_mask"].all() or family.attention_pattern == "prefix"
        assert description == list(item.sequence.ids[item.sequence.start :])


def test_weights_outside_the_layers_are_refused(trained, tmp_path):
    """The layers below the lowest one are computed once, as if nothing in them were trained."""
    model, family = fresh(trained[1])

    def adapt(model, family, layers):
        return add_adapter(model, family, [*layers, 2], **LORA)

    arguments = (trained[3][:4], trained[3][:4], adapt, TRAINING, SHORTCUTS)
    with pytest.raises(ValueError, match=r"layers\.2\..* is trainable, and is not in"):
        finetune(model, family, [4, 9], *arguments, tmp_path / "state", tmp_path / "adapter")


def test_another_tuning_method_can_be_plugged_in(trained, tmp_path):
    """DoRA in the place of LoRA: `finetune` does not know what `adapt` adds."""
    from peft import LoraConfig, get_peft_model

    model, family = fresh(trained[1])

    def adapt(model, family, layers):
        pattern = rf"{family.decoder}\.layers\.({'|'.join(map(str, layers))})\.self_attn\.q_proj"
        return get_peft_model(model, LoraConfig(r=2, target_modules=pattern, use_dora=True))

    arguments = (trained[3][:4], trained[3][:4], adapt, TRAINING, SHORTCUTS)
    history = finetune(model, family, [4], *arguments, tmp_path / "state", tmp_path / "adapter")
    assert history[-1]["loss"] < history[0]["loss"]
    names = load_file(tmp_path / "adapter/adapter_model.safetensors")
    assert any("magnitude" in name for name in names)

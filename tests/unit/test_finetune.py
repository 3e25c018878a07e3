"""LoRA: what is adapted, what stays, and that the result loads."""

import json

import numpy as np
import pandas as pd
import pytest
import torch

from headimpact.dataset import scenes
from headimpact.dataset.coco import CocoFolder
from headimpact.finetune import Collator, add_adapter, description_losses, finetune, make_items
from headimpact.miniature.checkpoints import MAKERS
from headimpact.models.load import load_adapter
from headimpact.scoring import score

LORA = {"rank": 8, "alpha": 16, "dropout": 0, "targets": ["q_proj", "k_proj", "v_proj"]}
TRAINING = {
    "epochs": 3,
    "batch_size": 4,
    "learning_rate": 5e-3,
    "warmup": 0.0,
    "weight_decay": 0.0,
    "seed": 0,
}


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
    items = make_items(model, family, CocoFolder(folder, "scenes"), samples, objects, batch=1)
    history = finetune(
        model,
        family,
        [2, 9],
        items,
        items[:4],
        LORA,
        TRAINING,
        folder / "work",
        folder / "adapter",
    )
    return model, family, before, items, history, folder


def test_adapted_are_exactly_q_k_v_of_the_chosen_layers(made):
    _, family = made
    torch.manual_seed(0)
    model, _ = next(
        (m, f) for m, f in (make() for make in MAKERS.values()) if type(f) is type(family)
    )
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
    curve = [entry["eval_perplexity"] for entry in history if "eval_perplexity" in entry]
    assert len(curve) == TRAINING["epochs"]
    torch.manual_seed(0)
    fresh, _ = MAKERS[next(name for name in MAKERS if type(MAKERS[name]()[1]) is type(family))]()
    fresh.load_state_dict(before)
    loaded = load_adapter(fresh, folder / "adapter")
    with torch.no_grad():
        scored = [
            score(loaded, family, item.features, item.grid, [item.sequence])[0]
            for item in items[:4]
        ]
    mean = np.mean([one.log_probabilities.mean() for one in scored])
    assert np.exp(-mean) == pytest.approx(min(curve), rel=1e-4)


def test_padding_and_batching_change_no_loss(tuned):
    model, family, _, items, *_ = tuned
    collate = Collator(family)
    with torch.no_grad():
        together = description_losses(model, family, collate(items[:4]))[1]
        alone = sum(description_losses(model, family, collate([item]))[1] for item in items[:4])
    assert together == pytest.approx(alone, rel=1e-5)


def test_labels_are_the_description_alone(tuned):
    _, family, _, items, *_ = tuned
    batch = Collator(family)(items[:3])
    for item, labels in zip(items[:3], batch["labels"], strict=True):
        spoken = labels[labels != -100].tolist()
        assert spoken == list(item.sequence.ids[item.sequence.start :])

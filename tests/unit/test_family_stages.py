"""Each tiny family through the stages of a study: kept features, fine-tuning, all head scores."""

import json
from dataclasses import replace
from functools import partial

import numpy as np
import pandas as pd
import pytest
import score_inputs
import tiny_families
import torch
from PIL import Image
from safetensors.torch import load_file

from headimpact import registry
from headimpact.dataset import masks
from headimpact.models import features
from headimpact.models.continuations import score_continuations
from headimpact.models.family import EncodedImage
from headimpact.scores.attention import measure_attention
from headimpact.scores.coverage import object_tokens
from headimpact.scores.inputs import ScoreInputs
from headimpact.scores.intervention_design import ablated_heads
from headimpact.scores.intervention_rows import intervention_rows
from headimpact.scores.knockout_design import token_sets
from headimpact.scores.knockout_rows import KnockoutSettings, knockout_rows
from headimpact.training.batches import Collator, make_items
from headimpact.training.finetune import finetune
from headimpact.training.frozen import decoder_layers
from headimpact.training.lora import add_adapter
from headimpact.training.losses import description_losses

SAMPLES, OBJECTS = score_inputs.SAMPLES, score_inputs.OBJECTS
LORA = {"rank": 4, "alpha": 8, "dropout": 0, "targets": ["q_proj", "k_proj", "v_proj"]}
TRAINING = {
    **{"epochs": 2, "batch_size": 2, "by_length": True, "learning_rate": 5e-3},
    **{"warmup": 0.0, "weight_decay": 0.0, "seed": 0},
}


@pytest.fixture
def kept(tiny, photo, tmp_path):
    """Items with features that were kept in a file."""
    model, (family, *_) = tiny
    computed = features.compute(model, family, score_inputs.Images(photo), SAMPLES)
    _, _, files = features.write(tmp_path / "kept", computed)
    (tmp_path / "kept.json").write_text(json.dumps({"files": files}))
    stored = features.load(tmp_path / "kept.json")
    return make_items(family, stored, SAMPLES, OBJECTS)


def computed_items(model, family, photo):
    """The same Items, with features from the model."""
    computed = features.compute(model, family, score_inputs.Images(photo), SAMPLES)
    stored = {sample.sample_id: tensor for sample, tensor in computed}
    return make_items(family, stored, SAMPLES, OBJECTS)


def test_a_padded_batch_in_training_equals_single_items(tiny_name, kept):
    model, family = tiny_families.make(tiny_name)
    layers = [0, family.layers - 1]
    adapted = add_adapter(model, family, layers, **LORA)
    expected = {
        f"{family.decoder}.layers.{layer}.self_attn.{name}"
        for layer in layers
        for name in LORA["targets"]
    }
    assert set(adapted.targeted_module_names) == expected
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(weight, std=0.1)
    items = [kept[0], kept[4]]
    assert len(items[0]) != len(items[1]), "one of them must be padded"
    collate = Collator(family)
    losses, _ = description_losses(adapted.train(), family, collate(items))
    singles = [description_losses(adapted, family, collate([item]))[0].item() for item in items]
    assert losses.tolist() == pytest.approx(singles, abs=1e-4)
    losses.sum().backward()
    gradients = [w.grad for w in adapted.parameters() if w.requires_grad]
    assert len(gradients) == 2 * len(expected) and all(g.abs().max() > 0 for g in gradients)
    adapted.eval()
    for item, loss in zip(items, singles, strict=True):
        image = EncodedImage(item.features, item.grid)
        (score,) = score_continuations(model, family, [(image, item.sequence)])
        assert -score.log_probabilities.sum().item() == pytest.approx(loss, abs=1e-4)


def test_kept_features_and_frozen_layers_change_no_loss(tiny_name, kept, photo, tmp_path):
    """Whatever the lowest trained layer is; and the layers below it do not run in every epoch."""
    for lowest in range(tiny_families.make(tiny_name)[1].layers):
        results = []
        for shortcut in (True, False):
            model, family = tiny_families.make(tiny_name)
            items = kept if shortcut else computed_items(model, family, photo)
            folder, passes = tmp_path / f"{lowest} {shortcut}", []
            decoder_layers(model, family)[0].mlp.register_forward_hook(
                lambda *_, passes=passes: passes.append(1)
            )
            history = finetune(
                *(model, family, [lowest], items[:4], items[4:]),
                *(partial(add_adapter, **LORA), TRAINING),
                {"few_logits": True, "frozen_layers": shortcut},
                *(folder / "state", folder / "adapter"),
            )
            numbers = [entry[key] for entry in history for key in ("loss", "perplexity")]
            adapter = load_file(folder / "adapter/adapter_model.safetensors")
            results.append((numbers, adapter, len(passes)))
        (numbers, adapter, passes), (plain_numbers, plain_adapter, plain_passes) = results
        assert (passes < plain_passes) == (lowest >= max(family.deepstack_layers, 1))
        assert numbers == pytest.approx(plain_numbers, rel=1e-4)
        torch.testing.assert_close(adapter, plain_adapter, atol=1e-4, rtol=1e-3)


# ------------------------------------------------------------------ head scores


def rectangle_masks():
    """A mask for each object of the samples: another quarter of the image each."""
    sizes = SAMPLES.set_index("sample_id")
    for number, sample_id in enumerate(OBJECTS["sample_id"]):
        width, height = sizes.loc[sample_id if sample_id in sizes.index else 7, ["width", "height"]]
        mask = np.zeros((height, width), bool)
        rows, columns = (
            slice(side * half // 2, side * (half + 1) // 2)
            for side, half in ((height, number % 2), (width, number // 2 % 2))
        )
        mask[rows, columns] = True
        yield masks.encode(mask)


@pytest.fixture(scope="module")
def inputs(tiny):
    """What a head score can need, and the interventions of each design."""
    model, (family, *_) = tiny

    def photo(width, height, seed):
        pixels = np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)
        return Image.fromarray(pixels)

    images = score_inputs.Images(photo)
    objects = OBJECTS.assign(mask=[*rectangle_masks()])
    tokens = pd.DataFrame(object_tokens(family, SAMPLES, objects))
    attention = measure_attention(model, family, images, SAMPLES, objects, batch=8)
    items = objects[objects["sample_id"] != 99].drop_duplicates("sample_id")

    def interventions(design, **options):
        draw = partial(ablated_heads, design=design, seed=3, **options)
        outcome = ("zero", ["description"], 64)
        return intervention_rows(
            model, family, images, SAMPLES, items, None, draw, design, *outcome
        )

    settings = KnockoutSettings(
        width=1,
        rows=["description"],
        sources=["object_ring"],
        outcomes=["description"],
        variant="renormalise",
    )
    sets = token_sets(tokens, objects, items["object_id"].tolist(), seed=0)
    knockouts = knockout_rows(model, family, images, SAMPLES, items, sets, None, settings, batch=64)

    def table(parts):
        return pd.concat(map(pd.DataFrame, parts), ignore_index=True)

    inputs = ScoreInputs(
        *(SAMPLES, objects, tokens, table(attention)),
        knockouts=table(knockouts),
        images=images,
        model=model,
        family=family,
    )
    return inputs, {
        "single_interventions": table(interventions("single")),
        "random_interventions": table(interventions("random", masks=12, keep=0.5)),
    }


@pytest.mark.parametrize("name", registry.SCORES)
def test_every_head_score_is_computed(inputs, name):
    entry, (inputs, interventions) = registry.SCORES[name], inputs
    inputs, family = replace(inputs, interventions=interventions.get(entry.needs[0])), inputs.family
    # so low that heads of random models, which agree on little, have sinks
    options = registry.options(entry.options, {"heads_share": 0.2})
    scores = entry.load()(inputs, **options)
    shape = (family.layers,) if entry.per == "layer" else (family.layers, family.heads)
    assert scores.value.shape == shape
    assert np.isfinite(scores.value).all() and len(np.unique(scores.value)) > 1

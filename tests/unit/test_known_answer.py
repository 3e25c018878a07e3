"""Image reads that are blocked or recorded, and the miniatures that are trained with them."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch

from headimpact.dataset.scenes import Look, draw
from headimpact.miniature.checkpoints import MAKERS, save
from headimpact.miniature.known_answer import (
    BLOCKED,
    HEADS_FILE,
    MIXED,
    KnownAnswerTrainer,
    measure_blocked,
    reading_heads,
    train_known_answer,
)
from headimpact.miniature.lessons import Mix
from headimpact.models.image_reads import block_image_reads, record_image_mass

MIX = Mix(descriptions=1, ask=1, is_there_full=1, choose=1)


@pytest.fixture(scope="module")
def trainer():
    torch.manual_seed(0)
    model, family = MAKERS["qwen2_vl"]()
    text = model.config.get_text_config()
    chosen = reading_heads("spread", text.num_hidden_layers, text.num_attention_heads)
    return KnownAnswerTrainer(model.eval(), family, chosen, 1.0)


@pytest.fixture(scope="module")
def batch(trainer):
    """Packed lessons of two scenes: features, and what `Trainer.logits` takes beside them."""
    rng = np.random.default_rng(3)
    scenes = [draw(rng, 72, 108, Look()) for _ in range(2)]
    grid = trainer.family.grid(72, 108)
    lessons = [(grid, trainer.teacher.lessons(rng, grid, s.objects, MIX)) for s in scenes]
    return torch.randn(2, len(grid.rectangles), 96), lessons


def text_logits(trainer, features, lessons):
    """Logits of the tokens behind the image."""
    with torch.no_grad():
        logits, labels = trainer.logits(list(features), lessons)
    return logits[labels >= 0]


def masses(trainer, batch):
    with torch.no_grad(), record_image_mass(trainer.model, trainer.family) as of_layers:
        trainer.logits(list(batch[0]), batch[1])
    return torch.stack(of_layers)


def test_text_knows_nothing_of_the_image_once_all_heads_are_blocked(trainer, batch):
    features, lessons = batch
    every = torch.ones_like(trainer.others)
    seen = text_logits(trainer, features, lessons)
    assert not torch.allclose(seen, text_logits(trainer, -features, lessons))
    with block_image_reads(trainer.model, trainer.family, every):
        blocked = text_logits(trainer, features, lessons)
        torch.testing.assert_close(blocked, text_logits(trainer, -features, lessons))
    # and all is as before behind the context
    torch.testing.assert_close(text_logits(trainer, features, lessons), seen)
    assert not torch.allclose(blocked, seen)


def test_only_the_blocked_heads_lose_their_image_mass(trainer, batch):
    before = masses(trainer, batch)
    assert before.shape == trainer.others.shape and (before > 0).all() and (before < 1).all()
    blocked = torch.zeros_like(trainer.others)
    blocked[0, 1] = blocked[2, 3] = True
    with block_image_reads(trainer.model, trainer.family, blocked):
        after = masses(trainer, batch)
    assert (after[blocked] == 0).all() and (after[~blocked] > 0).all()
    torch.testing.assert_close(after[0, [0, 2, 3]], before[0, [0, 2, 3]])
    assert not torch.allclose(after[1], before[1])  # what follows a blocked head changes


def test_image_mass_is_the_share_of_the_text_s_attention(trainer, batch):
    """Against the attention weights that the model itself returns."""
    features, lessons = batch
    inputs, _ = trainer.packer.pack(lessons)
    outputs = trainer.family.encoder_outputs(list(features))
    trainer.model.set_attn_implementation("eager")
    with torch.no_grad():
        weights = trainer.model(
            **inputs, mm_encoder_outputs=outputs, use_cache=False, output_attentions=True
        ).attentions
    trainer.model.set_attn_implementation("sdpa")
    image = inputs["input_ids"] == trainer.family.image_token
    expected = torch.zeros(trainer.others.shape)
    rows = 0
    for item in range(2):
        first = image[item].nonzero()[0, 0]
        padding = inputs["input_ids"][item] == trainer.family.tokenizer.pad_token_id
        text = ~image[item] & ~padding & (torch.arange(image.shape[1]) > first)
        rows += text.sum()
        for layer, of_layer in enumerate(weights):
            expected[layer] += of_layer[item][:, text][:, :, image[item]].sum((1, 2))
    torch.testing.assert_close(masses(trainer, batch), expected / rows)


def test_the_penalty_lowers_the_others_image_mass_alone(trainer):
    """The gradient of the loss in an open step, against that of the lessons alone."""
    stage = replace(MIXED, batch=2)

    def loss(share):
        trainer.blocked_share = share
        return trainer.loss(np.random.default_rng(1), stage).item()

    assert loss(0.0) > loss(1.0) + 1


def test_a_known_answer_is_trained_and_measured_by_blocking(tmp_path):
    torch.manual_seed(0)
    save(tmp_path / "base", *MAKERS["qwen2_vl"]())
    stages = replace(BLOCKED, steps=1, batch=2), replace(MIXED, steps=1, batch=2)
    last = train_known_answer(tmp_path / "base", "late", tmp_path, stages=stages, scenes=6)
    assert last == tmp_path / "qwen2_vl_late/mixed"
    record = json.loads((last / HEADS_FILE).read_bytes())
    assert len(record["reading_heads"]) == 8 and min(record["reading_heads"])[0] >= 8
    assert set(record["blocked"]) == {"none", "others", "chosen", "all"}
    before = (last / "model.safetensors").stat().st_mtime_ns
    assert train_known_answer(tmp_path / "base", "late", tmp_path, stages=stages) == last
    assert (last / "model.safetensors").stat().st_mtime_ns == before


def test_every_set_of_blocked_heads_reads_the_same_scenes(trainer):
    table = measure_blocked(trainer.model, trainer.family, ~trainer.others, scenes=6)
    floors = table.groupby("blocked")["floor"].apply(list)
    assert len(table) == 24 and all(values == floors["none"] for values in floors)
    losses = table.groupby("blocked")["nll"].mean()
    assert losses.nunique() == 4

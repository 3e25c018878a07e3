"""A GPU that is too small: micro-batches are halved, and results stay the same."""

import numpy as np
import pandas as pd
import pytest
import torch
from small_training import LORA, make_study, random_model, train

from headimpact.dataset.masks import encode
from headimpact.guards import AdaptiveBatch
from headimpact.scores import attention
from headimpact.training.batches import Collator


@pytest.fixture(scope="module")
def study(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("scenes"))


def limit_memory(monkeypatch, most):
    """A batch of more than `most` items runs out of memory; returns the list of sizes tried."""
    sizes = []
    collate = Collator.__call__

    def collate_within_memory(self, items):
        sizes.append(len(items))
        if len(items) > most:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return collate(self, items)

    monkeypatch.setattr(Collator, "__call__", collate_within_memory)
    return sizes


@pytest.mark.parametrize("layers", [(0, 9), (4, 9)])
def test_halved_batches_train_the_same_adapter(study, tmp_path, monkeypatch, capfd, layers):
    lora = {**LORA, "dropout": 0}  # dropout masks are drawn for each micro-batch
    history, adapter = train(study[3], tmp_path / "full", layers, lora=lora)
    sizes = limit_memory(monkeypatch, 1)
    halved_history, halved_adapter = train(study[3], tmp_path / "halved", layers, lora=lora)
    assert sizes[:3] == [4, 2, 1] and set(sizes[3:]) == {1}
    log = capfd.readouterr().err
    assert "training: the GPU is out of memory, continuing with batches of 2" in log
    assert "training: the GPU is out of memory, continuing with batches of 1" in log
    for entry, halved_entry in zip(history, halved_history, strict=True):
        assert entry == pytest.approx(halved_entry, rel=2e-4)
    for name, value in adapter.items():
        torch.testing.assert_close(value, halved_adapter[name], atol=2e-4, rtol=1e-2)


def test_a_gpu_too_small_for_one_item_ends_the_training(study, tmp_path, monkeypatch):
    limit_memory(monkeypatch, 0)
    with pytest.raises(MemoryError, match="training: the GPU has too little memory for a single"):
        train(study[3], tmp_path)


def test_all_items_are_run_again_after_a_halving():
    sizes = []

    def run(items):
        sizes.append(len(items))
        if len(items) > 3 or (len(items) == 3 and sizes.count(3) == 2):
            raise torch.OutOfMemoryError
        return sum(items)

    adaptive_batch = AdaptiveBatch(100, "test")
    assert sum(adaptive_batch(run, list(range(10)))) == 45
    assert sizes == [10, 5, 3, 3, 2, 2, 2, 2, 2] and adaptive_batch.size == 2
    assert adaptive_batch(run, [1, 2, 3, 4]) == [3, 7]


def test_halved_batches_attend_to_the_same_tokens(study, monkeypatch, capfd):
    folder, samples, _, _ = study
    model, family = random_model()
    texts = ["a cat", "a dog", "a large red moon", "grass"]
    objects = pd.DataFrame({"sample_id": [100] * 4, "object_id": range(4), "description": texts})
    objects["mask"] = encode(np.ones((samples["height"][0], samples["width"][0]), bool))
    arguments = (model, family, folder, samples[:1], objects)
    (full,) = attention.measure_attention(*arguments, 16)
    score, sizes = attention.score_continuations, []

    def score_within_memory(*arguments, **options):
        sizes.append(len(arguments[-1]))
        if sizes[-1] > 2:
            raise torch.OutOfMemoryError
        return score(*arguments, **options)

    monkeypatch.setattr(attention, "score_continuations", score_within_memory)
    (halved,) = attention.measure_attention(*arguments, 3)
    assert sizes == [3, 2, 2]
    assert full["attended"] == halved["attended"]
    assert full["top_token"] == halved["top_token"]
    for column in ("image_mass", "object_mass", "spatial_entropy"):
        assert full[column] == pytest.approx(halved[column], abs=1e-5)
    log = capfd.readouterr().err
    assert "attention: the GPU is out of memory, continuing with batches of 2" in log

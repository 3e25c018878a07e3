"""What a model says of the test items."""

import copy
import math

import pandas as pd
import pytest
import torch

from headimpact.artifacts import LABELS
from headimpact.evaluation.evaluate import evaluate
from headimpact.models.features import compute, load_or_compute
from headimpact.training.lora import add_adapter, load_adapter

LORA = {"rank": 4, "alpha": 8, "dropout": 0, "targets": ["q_proj", "v_proj"]}
TEXTS = ["A dog", "a cat", "a cup", "a tree", "a car", "a boat"]


@pytest.fixture
def study(photo):
    """Two objects an image: the images' folder, samples, objects and questions."""
    samples = pd.DataFrame({"sample_id": range(3), "width": 72, "height": 108, "file_name": "x"})
    objects = pd.DataFrame(
        {"object_id": range(6), "sample_id": [0, 0, 1, 1, 2, 2], "description": TEXTS}
    )
    options = {f"option_{x}": TEXTS[i:] + TEXTS[:i] for i, x in enumerate(LABELS)}
    questions = pd.DataFrame({"object_id": range(6), **options, "answer": "A"})

    class Folder:
        def image(self, _name):
            return photo(72, 108)

    return Folder(), samples, objects, questions


def answers(model, family, study, **options):
    folder, samples, objects, questions = study
    features = compute(model, family, folder, samples)
    return pd.DataFrame(evaluate(model, family, features, objects, questions, **options))


def test_an_answer_has_log_probabilities_over_the_whole_vocabulary(model_and_family, study):
    model, family = model_and_family
    table = answers(model, family, study)
    assert table["object_id"].tolist() == list(range(6))
    shares = table[[f"log_{label}" for label in LABELS]].map(math.exp).sum(axis=1)
    assert shares.between(0, 1, inclusive="neither").all()
    # a random model gives each token about 1 / vocabulary
    losses = -table["log_probability"] / table["tokens"]
    assert losses.sub(math.log(len(family.tokenizer))).abs().lt(2).all()


def test_an_adapter_and_separate_passes_change_nothing_else(model_and_family, study, tmp_path):
    model, family = model_and_family
    adapted = add_adapter(copy.deepcopy(model), family, [3, 11], **LORA)
    torch.manual_seed(1)
    for name, value in adapted.named_parameters():
        if "lora_B" in name:
            torch.nn.init.normal_(value)
    adapted.save_pretrained(tmp_path)
    expected = answers(adapted.merge_and_unload(), family, study)
    loaded = copy.deepcopy(model)
    load_adapter(loaded, tmp_path)
    table = answers(loaded, family, study)
    pd.testing.assert_frame_equal(table, expected, rtol=1e-4)
    pd.testing.assert_frame_equal(
        answers(loaded, family, study, one_pass=False), expected, rtol=1e-4
    )
    original = answers(model, family, study)
    assert not original["log_probability"].equals(table["log_probability"])


def test_stored_features_give_the_same_answers_as_computed_ones(model_and_family, study):
    model, family = model_and_family
    folder, samples, objects, questions = study
    stored = {s.sample_id: f for s, f in compute(model, family, folder, samples.iloc[1:2])}
    features = load_or_compute(model, family, folder, samples, stored)
    table = pd.DataFrame(evaluate(model, family, features, objects, questions))
    table = table.sort_values("object_id", ignore_index=True)
    pd.testing.assert_frame_equal(table, answers(model, family, study), rtol=1e-5)

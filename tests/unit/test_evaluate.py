"""What a model says of the test items."""

import copy
import math

import pandas as pd
import pytest
import torch

from headimpact.evaluation import evaluate as evaluation
from headimpact.evaluation.evaluate import evaluate
from headimpact.models.features import compute, load_or_compute
from headimpact.table_kinds import LABELS
from headimpact.training.lora import add_adapter, load_adapter

LORA = {"rank": 4, "alpha": 8, "dropout": 0, "targets": ["q_proj", "v_proj"]}
TEXTS = ["A dog", "a cat that smokes", "a cup", "a large blue tree", "a car", "a boat"]


@pytest.fixture
def study(photo):
    """One to three objects an image: the images' folder, samples, objects and questions."""
    samples = pd.DataFrame(
        {
            "sample_id": range(3),
            "width": [72, 200, 108],
            "height": [108, 145, 72],
            "file_name": ["a", "b", "c"],
        }
    )
    objects = pd.DataFrame(
        {"object_id": range(6), "sample_id": [0, 0, 1, 2, 2, 2], "description": TEXTS}
    )
    options = {f"option_{x}": TEXTS[i:] + TEXTS[:i] for i, x in enumerate(LABELS)}
    questions = pd.DataFrame({"object_id": range(6), **options, "answer": "A"})

    class Folder:
        def image(self, name):
            (sample,) = samples[samples["file_name"] == name].itertuples()
            return photo(sample.width, sample.height, seed=sample.sample_id)

    return Folder(), samples, objects, questions


def answers(model, family, study, batch=32, **options):
    folder, samples, objects, questions = study
    features = compute(model, family, folder, samples)
    return pd.DataFrame(evaluate(model, family, features, objects, questions, batch, **options))


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
    table = pd.DataFrame(evaluate(model, family, features, objects, questions, 32))
    table = table.sort_values("object_id", ignore_index=True)
    pd.testing.assert_frame_equal(table, answers(model, family, study), rtol=1e-5)


@pytest.mark.parametrize("batch", [1, 2, 3])
def test_the_number_of_objects_at_once_changes_no_answer(model_and_family, study, batch):
    model, family = model_and_family
    table = answers(model, family, study, batch)
    pd.testing.assert_frame_equal(table, answers(model, family, study), rtol=1e-5)


def test_rows_come_in_the_order_of_the_images(model_and_family, study):
    model, family = model_and_family
    folder, samples, objects, questions = study
    expected = answers(model, family, study).set_index("object_id")
    samples = samples.iloc[[2, 0, 1]]
    objects = objects.sample(frac=1, random_state=0)
    table = answers(model, family, (folder, samples, objects, questions)).set_index("object_id")
    assert table["sample_id"].tolist() == [2, 2, 2, 0, 0, 1]
    pd.testing.assert_frame_equal(table.sort_index(), expected, rtol=1e-5)


def test_a_value_that_is_not_finite_names_its_sample(model_and_family, study):
    model, family = model_and_family
    folder, samples, objects, questions = study
    features = list(compute(model, family, folder, samples))
    # the longest of those that share a pass, and not the first
    features[2] = features[2][0], features[2][1] * float("nan")
    with pytest.raises(FloatingPointError, match=r"^sample 2 \(c\): a log-probability is not"):
        evaluate(model, family, features, objects, questions, 32)


def limit_memory(monkeypatch, most):
    """More than `most` continuations at once run out of memory; returns the sizes tried."""
    score, sizes = evaluation.score_continuations, []

    def score_within_memory(model, family, conversations, **options):
        sizes.append(len(conversations))
        if sizes[-1] > most:
            raise torch.OutOfMemoryError
        return score(model, family, conversations, **options)

    monkeypatch.setattr(evaluation, "score_continuations", score_within_memory)
    return sizes


def test_halved_batches_give_the_same_answers(model_and_family, study, monkeypatch, capfd):
    model, family = model_and_family
    expected = answers(model, family, study)
    sizes = limit_memory(monkeypatch, 4)
    table = answers(model, family, study, 2)
    # two images at once have three objects, of five continuations each
    assert sizes[:4] == [10, 5, 3, 3] and set(sizes[4:]) == {3}
    pd.testing.assert_frame_equal(table, expected, rtol=1e-5)
    log = capfd.readouterr().err
    assert "evaluate: the GPU is out of memory, continuing with batches of 3" in log


def test_a_gpu_too_small_for_one_continuation_ends_the_evaluation(
    model_and_family, study, monkeypatch
):
    sizes = limit_memory(monkeypatch, 0)
    with pytest.raises(MemoryError, match="evaluate: the GPU has too little memory for a single"):
        answers(*model_and_family, study)
    assert sizes == [30, 15, 8, 4, 2, 1]

"""The miniatures' own training: lessons packed into one sequence, and stages that are reused."""

import numpy as np
import pytest
import torch

from headimpact.dataset.scenes import Look, draw
from headimpact.miniature.lessons import Mix, Teacher, choice, distractor
from headimpact.miniature.packing import Packer
from headimpact.miniature.train import Stage, train
from headimpact.models import prompts
from headimpact.models.continuations import score_continuations
from headimpact.models.family import EncodedImage
from headimpact.models.layout import IGNORE


def predict(model, family, features, grid, lessons):
    """Places of the answers' tokens in packed lessons, all labels, and log-probabilities."""
    inputs, labels = Packer(family, Teacher(family)).pack([(grid, lessons)])
    outputs = family.encoder_outputs([features])
    with torch.no_grad():
        logits = model(**inputs, mm_encoder_outputs=outputs, use_cache=False).logits[0]
    places = [int(i) for i in (labels[0] != IGNORE).nonzero()[:, 0]]
    return places, labels[0], logits.log_softmax(-1)


def test_a_packed_lesson_equals_scoring(model_and_family, photo):
    model, family = model_and_family
    grid, teacher = family.grid(72, 72), Teacher(family)
    (features,) = family.features(model, family.pixels([photo(72, 72)]))
    places, labels, logs = predict(
        model, family, features, grid, [teacher.describe(grid, ["a small red circle"])]
    )
    packed = torch.stack([logs[i - 1, labels[i]] for i in places[:4]])
    sequence = prompts.description(family, grid, "a small red circle")
    (score,) = score_continuations(model, family, [(EncodedImage(features, grid), sequence)])
    torch.testing.assert_close(packed, score.log_probabilities, atol=1e-5, rtol=0)


def test_packed_lessons_do_not_see_each_other(model_and_family, photo):
    model, family = model_and_family
    grid, teacher = family.grid(108, 72), Teacher(family)
    (features,) = family.features(model, family.pixels([photo(108, 72)]))
    first = ("is there a circle", ["yes"])
    second = teacher.choose(grid, ["a small red circle", "a large blue moon"], 1)

    def first_answer(lessons):
        places, labels, logs = predict(model, family, features, grid, lessons)
        # the answer's first token follows its stem's last
        return logs[places[0] - 1, labels[places[0]]]

    third = teacher.choose(grid, ["a large pink star", "a small cyan heart"], 0)
    logs = first_answer([first, second]), first_answer([first, third])
    torch.testing.assert_close(*logs, atol=1e-5, rtol=0)


def test_answers_of_a_lesson_do_not_see_each_other(model_and_family, photo):
    model, family = model_and_family
    grid, teacher = family.grid(108, 72), Teacher(family)
    (features,) = family.features(model, family.pixels([photo(108, 72)]))
    names = ["a small red circle", "a large blue moon"]
    places, labels, logs = predict(model, family, features, grid, [teacher.describe(grid, names)])
    second = places[len(places) // 2 :]
    packed = torch.stack([logs[i - 1, labels[i]] for i in second[1:4]])
    sequence = prompts.description(family, grid, names[1])
    (score,) = score_continuations(model, family, [(EncodedImage(features, grid), sequence)])
    torch.testing.assert_close(packed, score.log_probabilities[1:4], atol=1e-5, rtol=0)


def test_distractors_name_nothing_in_the_scene():
    rng = np.random.default_rng(0)
    for _ in range(50):
        scene = draw(rng, 72, 108, Look())
        present = {item.description for item in scene.objects}
        assert distractor(rng, scene.objects, scene.objects[0]) not in present
        options, answer = choice(rng, scene.objects, scene.objects[-1], count=4)
        assert options[answer] == scene.objects[-1].description
        assert len(set(options)) == 4 and len(present & set(options)) == 1


@pytest.mark.parametrize("name", ["qwen2_vl", "paligemma2"])
def test_a_finished_stage_is_reused(name, tmp_path):
    stages = (
        Stage("vision", 2, 2, Look()),
        Stage("lessons", 2, 2, Look(), Mix(1, 1, 1, 1, 1, 1), cosine=True, single=0.5),
    )
    train(name, tmp_path, stages=stages[:1])
    weights = tmp_path / name / "vision/model.safetensors"
    before = weights.stat().st_mtime_ns
    last = train(name, tmp_path, stages=stages)
    assert weights.stat().st_mtime_ns == before
    assert last == tmp_path / name / "lessons"
    assert (last / "model.safetensors").read_bytes() != weights.read_bytes()

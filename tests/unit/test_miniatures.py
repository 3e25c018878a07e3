"""The shipped checkpoints: their classes, and how well they read scenes outside their training."""

import json
import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from transformers import (
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoTokenizer,
    Idefics3ForConditionalGeneration,
    PaliGemmaForConditionalGeneration,
    Qwen2VLForConditionalGeneration,
)

from headimpact.annotate.instances import annotate, read_instances
from headimpact.dataset import scenes
from headimpact.dataset.coco import CocoFolder
from headimpact.dataset.samples import draw_images
from headimpact.evaluation import metrics
from headimpact.evaluation.evaluate import evaluate
from headimpact.evaluation.questions import make_questions
from headimpact.miniature.known_answer import (
    HEADS_FILE,
    READING_HEADS,
    measure_blocked,
    reading_heads,
)
from headimpact.models.features import compute
from headimpact.models.load import load_family, load_model
from headimpact.scores.recovery import read_reading_heads
from headimpact.study.config import parse_config

ROOT = Path(__file__).parents[2]
STUDY = parse_config(yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8"))).studies[
    "miniature"
]
CLASSES = {
    "paligemma2": PaliGemmaForConditionalGeneration,
    "qwen2_vl": Qwen2VLForConditionalGeneration,
    "idefics3": Idefics3ForConditionalGeneration,
}


def folder_of(name):
    return ROOT / "resources/miniature" / name


@pytest.mark.parametrize("name", CLASSES)
def test_the_auto_classes_load_it(name):
    model = AutoModelForImageTextToText.from_pretrained(folder_of(name))
    assert type(model) is CLASSES[name]
    text = model.config.get_text_config()
    assert text.num_hidden_layers >= 16 and text.num_attention_heads >= 4
    assert text.num_key_value_heads < text.num_attention_heads
    if name == "paligemma2":
        assert text.attn_logit_softcapping and text.final_logit_softcapping
    assert AutoImageProcessor.from_pretrained(folder_of(name), backend="pil")
    tokenizer = AutoTokenizer.from_pretrained(folder_of(name))
    assert bool(tokenizer.chat_template) == (name != "paligemma2")
    size = sum(path.stat().st_size for path in folder_of(name).iterdir())
    assert size < 7e6
    assert not [path for path in folder_of(name).iterdir() if path.suffix in (".bin", ".pt")]


@pytest.fixture(scope="module")
def new_scenes(tmp_path_factory):
    """Scenes as hard as the study's, from another seed; one object a scene, drawn at random."""
    look = STUDY.dataset.look.model_dump(exclude_none=True)
    root = tmp_path_factory.mktemp("scenes")
    scenes.write(root, 240, 990, scenes.Look(**look))
    folder = CocoFolder(root, "scenes")
    samples = draw_images(folder.captions(), 240, 0)
    samples["sample_id"] = range(len(samples))
    annotations, _ = annotate(folder, samples, "{category}", read_instances(folder, samples))
    objects = annotations.sample(frac=1, random_state=0).drop_duplicates("image_id")
    objects = objects.merge(samples[["image_id", "sample_id"]], on="image_id")
    objects["object_id"] = range(len(objects))
    return folder, samples, objects, annotations


@pytest.mark.parametrize("name", CLASSES)
def test_it_reads_scenes_outside_its_training(name, new_scenes):
    folder, samples, objects, annotations = new_scenes
    wrong_options = STUDY.questions.wrong_options
    questions = make_questions(
        samples, objects, annotations, annotations["description"], 1, wrong_options
    )
    model, family = load_model(folder_of(name)), load_family(folder_of(name))
    features = compute(model, family, folder, samples)
    answers = pd.DataFrame(evaluate(model, family, features, objects, questions, 32))
    items = answers.merge(questions, on="object_id").merge(objects, on="object_id")
    accuracy = metrics.accuracy(items).mean()
    perplexity, _ = metrics.PERPLEXITY.aggregate(metrics.token_losses(items), items["image_id"])
    # a perfect observer that does not know which of a scene's objects is meant
    objects_per_image = annotations.groupby("image_id").size()
    loss = items["image_id"].map(objects_per_image).map(math.log)
    floor = np.exp((loss / items["tokens"]).mean())
    print(f"{name}: accuracy {accuracy:.3f}, perplexity {perplexity:.3f}, floor {floor:.3f}")
    assert 0.80 <= accuracy <= 0.95
    assert perplexity <= 1.3 * floor


@pytest.mark.parametrize("answer", READING_HEADS)
def test_only_the_reading_heads_carry_what_the_image_says(answer):
    """Blocking proves the known answer, with the figures that stand beside the checkpoint."""
    folder = folder_of(f"qwen2_vl_{answer}")
    model, family = load_model(folder), load_family(folder)
    text = model.config.get_text_config()
    heads = text.num_hidden_layers, text.num_attention_heads
    reading = torch.from_numpy(read_reading_heads(folder / HEADS_FILE, *heads))
    assert reading.sum() == 8 and torch.equal(reading, reading_heads(answer, *heads))
    recorded = json.loads((folder / HEADS_FILE).read_bytes())["blocked"]
    measured = measure_blocked(model, family, reading, scenes=90)
    read = {blocked: rows.reset_index() for blocked, rows in measured.groupby("blocked")}
    for blocked, rows in read.items():
        for column, figure in recorded[blocked].items():
            error = math.hypot(rows[column].std() / math.sqrt(len(rows)), figure["standard_error"])
            assert abs(rows[column].mean() - figure["mean"]) <= 3.5 * error, (blocked, column)
    # without the others' image reads the model reads as before, scene by scene
    for column in ("accuracy", "nll"):
        change = read["others"][column] - read["none"][column]
        assert abs(change.mean()) <= 3 * change.std() / math.sqrt(len(change)) + 1e-9, column
    # without the reading heads' it is at chance, as without any
    assert read["none"]["accuracy"].mean() > 0.9
    assert abs(read["chosen"]["accuracy"].mean() - 0.25) < 3 * math.sqrt(0.25 * 0.75 / 90)
    assert read["chosen"]["nll"].mean() > read["none"]["nll"].mean() + 3

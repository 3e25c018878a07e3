"""The shipped checkpoints: their classes, and how well they read scenes outside their training."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
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
from headimpact.models.features import compute
from headimpact.models.load import load_family, load_model
from headimpact.study.config import parse_config

ROOT = Path(__file__).parents[2]
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
    assert text.num_hidden_layers >= 12 and text.num_attention_heads >= 4
    assert text.num_key_value_heads < text.num_attention_heads
    if name == "paligemma2":
        assert text.attn_logit_softcapping and text.final_logit_softcapping
    assert AutoImageProcessor.from_pretrained(folder_of(name), backend="pil")
    tokenizer = AutoTokenizer.from_pretrained(folder_of(name))
    assert bool(tokenizer.chat_template) == (name != "paligemma2")
    size = sum(path.stat().st_size for path in folder_of(name).iterdir())
    assert size < 6e6
    assert not [path for path in folder_of(name).iterdir() if path.suffix in (".bin", ".pt")]


@pytest.fixture(scope="module")
def new_scenes(tmp_path_factory):
    """Scenes as hard as the study's, from another seed; one object a scene, drawn at random."""
    config = parse_config(yaml.safe_load((ROOT / "config.yaml").read_text(encoding="utf-8")))
    look = config.studies["miniature"].dataset.look.model_dump(exclude_none=True)
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
    questions = make_questions(samples, objects, annotations, annotations["description"], seed=1)
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
    assert 0.80 <= accuracy < 0.98
    assert perplexity <= 1.3 * floor

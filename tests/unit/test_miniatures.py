"""The shipped checkpoints: what they are, and that they read scenes that they never saw."""

import math
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from headimpact.models.locate import locate
from transformers import (
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoTokenizer,
    Idefics3ForConditionalGeneration,
    PaliGemmaForConditionalGeneration,
    Qwen2VLForConditionalGeneration,
)

from headimpact.annotate.instances import annotate
from headimpact.dataset import scenes
from headimpact.dataset.coco import CocoFolder
from headimpact.dataset.samples import draw_images
from headimpact.evaluation.evaluate import evaluate, questions
from headimpact.models.load import load
from headimpact.report.tables import item_values

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
def unseen(tmp_path_factory):
    """Scenes as hard as the study's, from another seed; one object a scene, drawn at random."""
    config = yaml.safe_load((ROOT / "config.yaml").read_text())
    look = scenes.Look(**config["studies"]["miniature"]["dataset"]["look"])
    root = tmp_path_factory.mktemp("unseen")
    scenes.write(root, 240, 990, look)
    folder = CocoFolder(root, "scenes")
    samples = draw_images(folder.captions(), 240, 0)
    samples["sample_id"] = range(len(samples))
    annotations, _ = annotate(folder, samples, "{category}")
    objects = annotations.sample(frac=1, random_state=0).drop_duplicates("image_id")
    objects = objects.merge(samples[["image_id", "sample_id"]], on="image_id")
    objects["object_id"] = range(len(objects))
    return folder, samples, objects, annotations


@pytest.mark.parametrize("name", CLASSES)
def test_it_reads_scenes_that_it_never_saw(name, unseen):
    folder, samples, objects, annotations = unseen
    entry = {
        "checkpoint": str(folder_of(name)),
        "dtype": "float32",
        "device": "cpu",
    }
    asked = questions(samples, objects, annotations, annotations["description"], seed=1)
    original = {("original", 0): None}
    parts = evaluate(*load(*locate(entry)), folder, samples, objects, asked, original)
    rows = sorted((row for part in parts for row in part), key=lambda row: row["object_id"])
    values, _ = item_values(pd.DataFrame(rows), "labels")
    accuracy, perplexity = values["accuracy"].mean(), np.exp(values["perplexity"].mean())
    # a perfect observer that does not know which of a scene's objects is meant
    there = annotations.groupby("image_id").size()
    meant = objects["image_id"].map(there).map(math.log).to_numpy()
    tokens = np.array([row["tokens"] for row in rows])
    floor = np.exp((meant / tokens).mean())
    print(f"{name}: accuracy {accuracy:.3f}, perplexity {perplexity:.3f}, floor {floor:.3f}")
    assert 0.80 <= accuracy < 0.98
    assert perplexity <= 1.3 * floor

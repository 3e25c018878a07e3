"""A training on synthetic scenes that takes seconds: ten training items, four for validation."""

from functools import partial

import pandas as pd
import torch
from safetensors.torch import load_file

from headimpact.dataset import scenes
from headimpact.dataset.coco import CocoFolder
from headimpact.miniature.checkpoints import MAKERS
from headimpact.models.features import compute
from headimpact.training.batches import make_items
from headimpact.training.finetune import finetune
from headimpact.training.lora import add_adapter

LORA = {"rank": 4, "alpha": 8, "dropout": 0.1, "targets": ["q_proj", "v_proj"]}
TRAINING = {
    **{"epochs": 4, "batch_size": 4, "by_length": True, "learning_rate": 2e-2},
    **{"warmup": 0.2, "weight_decay": 0.1, "seed": 3},
}
SHORTCUTS = {"few_logits": True, "frozen_layers": True}


def random_model(name="qwen2_vl"):
    """A random model, the same at every call, and its family."""
    torch.manual_seed(0)
    model, family = MAKERS[name]()
    return model.eval(), family


def make_study(root):
    """Write scenes to `root`; return their folder, samples, objects and Items."""
    scenes.write(root, 14, 3, scenes.Look())
    folder = CocoFolder(root, "scenes")
    samples = folder.captions().drop_duplicates("image_id")
    samples = samples.assign(sample_id=range(100, 114)).reset_index(drop=True)
    texts = ["a small red circle", "a large blue moon", "a cat"]
    objects = pd.DataFrame(
        {
            "sample_id": samples["sample_id"],
            "object_id": range(14),
            "description": [texts[i % 3] for i in range(14)],
        }
    )
    model, family = random_model()
    features = {sample.sample_id: f for sample, f in compute(model, family, folder, samples)}
    return folder, samples, objects, make_items(family, features, samples, objects)


def train(items, folder, layers=(4, 9), training=TRAINING, model=None, lora=LORA):
    """Train with state and adapter in `folder`; return the history and the adapter's weights."""
    model, family = model or random_model()
    adapt = partial(add_adapter, **lora)
    arguments = (list(layers), items[:10], items[10:], adapt, training, SHORTCUTS)
    history = finetune(model, family, *arguments, folder / "epochs", folder / "adapter")
    return history, load_file(folder / "adapter/adapter_model.safetensors")

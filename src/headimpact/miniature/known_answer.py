"""Miniatures with a known answer: only a chosen few heads can carry what the image says.

A trained miniature goes on with its last lessons while the image reads of all other heads are
blocked. Then they are open in a share of the steps, and a penalty keeps the attention that they
give to the image low. Whether the answer holds is measured by blocking, see `measure_blocked`.
"""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from transformers import set_seed

from headimpact.miniature.checkpoints import save
from headimpact.miniature.measure import read_scenes
from headimpact.miniature.train import HARD, STAGES, Stage, Trainer
from headimpact.models.image_reads import block_image_reads, record_image_mass
from headimpact.models.load import load_family, load_model

# the heads that may read the image, {layer: heads}; two of one layer do not share their keys
READING_HEADS = {
    "spread": {1: (0, 2), 5: (1, 3), 9: (0, 2), 13: (1, 3)},
    "late": {8: (0, 2), 9: (1, 3), 11: (0, 2), 13: (1, 3)},
}
CHOOSE = next(stage for stage in STAGES if stage.name == "choose")
BLOCKED = replace(CHOOSE, name="blocked", steps=900, cosine=False)
MIXED = replace(CHOOSE, name="mixed", steps=400, cosine=True)
PENALTY = 20.0  # times the other heads' mean image mass
HEADS_FILE = "known_answer.json"


def reading_heads(name: str, layers: int, heads: int) -> torch.Tensor:
    """The reading heads of the known answer `name`, BoolTensor (layers, heads)."""
    chosen = torch.zeros(layers, heads, dtype=torch.bool)
    for layer, of_layer in READING_HEADS[name].items():
        chosen[layer, list(of_layer)] = True
    return chosen


class KnownAnswerTrainer(Trainer):
    """Trains on while other heads than the chosen ones cannot or should not read the image.

    chosen: BoolTensor (layers, heads). blocked_share: share of the steps in which the image reads
    of all others are blocked; in the rest their mean image mass is part of the loss.
    """

    def __init__(self, model, family, chosen: torch.Tensor, blocked_share: float):
        super().__init__(model, family)
        self.others, self.blocked_share = ~chosen, blocked_share

    def loss(self, rng, stage):
        """The loss of one step."""
        if rng.random() < self.blocked_share:
            with block_image_reads(self.model, self.family, self.others):
                return super().loss(rng, stage)
        with record_image_mass(self.model, self.family) as masses:
            loss = super().loss(rng, stage)
        return loss + PENALTY * torch.stack(masses)[self.others].mean()


def measure_blocked(model, family, chosen: torch.Tensor, scenes: int = 300) -> pd.DataFrame:
    """How the model reads new scenes while image reads are blocked.

    chosen: BoolTensor (layers, heads). A row a scene and a set of blocked heads, "none", "others",
    "chosen" or "all", in the column `blocked`; the columns `nll`, `floor` and `accuracy` are those
    of `read_scenes`, for the same scenes in every set.
    """
    everything = torch.ones_like(chosen)
    blocked = {"none": ~everything, "others": ~chosen, "chosen": chosen, "all": everything}
    trainer, tables = Trainer(model, family), {}
    for name, heads in blocked.items():
        with block_image_reads(model, family, heads):
            tables[name] = read_scenes(trainer, HARD, scenes, seed=79).drop(columns="shape")
    return pd.concat(tables, names=["blocked"]).reset_index(0)


def summary(chosen: torch.Tensor, measured: pd.DataFrame) -> dict:
    """The content of HEADS_FILE: the reading heads, and means and standard errors by blocking."""
    results = {}
    for name, rows in measured.groupby("blocked", sort=False):
        means = rows[["accuracy", "nll", "floor"]]
        errors = means.std(ddof=1) / np.sqrt(len(rows))
        results[name] = {
            column: {"mean": round(means[column].mean(), 4), "standard_error": round(error, 4)}
            for column, error in errors.items()
        }
    heads = [[int(layer), int(head)] for layer, head in chosen.nonzero()]
    return {"reading_heads": heads, "scenes": len(rows), "blocked": results}


def train_known_answer(
    base: str | Path,
    name: str,
    work: str | Path,
    seed: int = 0,
    stages: tuple[Stage, Stage] = (BLOCKED, MIXED),
    scenes: int = 300,
) -> Path:
    """Train the known answer `name` from the checkpoint `base`; finished stages are reused.

    stages: that with the others always blocked, and that with them blocked in half of the steps.
    scenes: how many measure the result.
    Returns the folder of the last stage's checkpoint, which holds HEADS_FILE.
    """
    set_seed(seed)
    folder = Path(base)
    for number, (stage, blocked_share) in enumerate(zip(stages, (1.0, 0.5), strict=True)):
        model, family = load_model(folder), load_family(folder)
        text = model.config.get_text_config()
        chosen = reading_heads(name, text.num_hidden_layers, text.num_attention_heads)
        folder = Path(work) / f"qwen2_vl_{name}" / stage.name
        if not (folder / "done").exists():
            trainer = KnownAnswerTrainer(model, family, chosen, blocked_share)
            trainer.run(stage, (seed, 100 + number), lambda trainer: trainer.measure(HARD))
            save(folder, model, family)
            measured = measure_blocked(model, family, chosen, scenes)
            content = json.dumps(summary(chosen, measured), indent=1)
            (folder / HEADS_FILE).write_text(content + "\n", encoding="utf-8")
            print(f"{name} {stage.name}: {content}")
            (folder / "done").touch()
    return folder

"""How well a miniature reads scenes, scene by scene."""

import numpy as np
import pandas as pd
import torch
from PIL import Image

from headimpact.dataset.scenes import RADII, SIZES, Look, draw
from headimpact.miniature.lessons import choice, floor


@torch.no_grad()
def read_scenes(trainer, look: Look, scenes: int = 60, seed: int = 77) -> pd.DataFrame:
    """What the model in training says of new scenes, a row a scene.

    trainer: a `miniature.train.Trainer`. The same seed gives the same scenes and questions.
    Columns: shape, the share of an object's visual tokens whose shape is recognised; nll, the
    negative log-likelihood of a random object's description (nats), and floor, the lowest mean that
    it can have; accuracy, 1 if a question of four options is answered right, else 0.
    """
    rng, tables = np.random.default_rng(seed), []
    trainer.model.eval()
    for size in SIZES:
        grid = trainer.family.grid(*size)
        batch = [draw(rng, *size, look) for _ in range(scenes // len(SIZES))]
        features = trainer.features([Image.fromarray(scene.pixels) for scene in batch])
        shape = trainer.head(torch.cat(features))[0].argmax(-1)
        targets = trainer.targets(grid, batch)
        right = (shape == targets[0]).float().masked_fill(targets[2] == len(RADII), torch.nan)
        items = [scene.objects[rng.integers(len(scene.objects))] for scene in batch]
        tables.append(
            pd.DataFrame(
                {
                    "shape": right.view(len(batch), -1).nanmean(1).numpy(),
                    "nll": _description_losses(trainer, grid, features, items),
                    "floor": [floor(scene.objects) for scene in batch],
                    "accuracy": _right_answers(trainer, grid, features, batch, items, rng),
                }
            )
        )
    trainer.model.train()
    return pd.concat(tables, ignore_index=True)


def _description_losses(trainer, grid, features, items):
    """Negative log-likelihood of each item's description, (scenes,)."""
    lessons = [(grid, [trainer.teacher.describe(grid, [item.description])]) for item in items]
    logits, labels = trainer.logits(features, lessons)
    logs = logits.log_softmax(-1).gather(-1, labels.clamp(min=0)[..., None])[..., 0]
    # a description has four tokens; those that end the answer do not count
    first = (labels >= 0) & ((labels >= 0).cumsum(1) <= 4)
    return -(logs * first).double().sum(1).numpy()


def _right_answers(trainer, grid, features, batch, items, rng):
    """Whether the question about each item is answered right, a list of 0.0 or 1.0."""
    lessons = []
    for scene, item in zip(batch, items, strict=True):
        options, answer = choice(rng, scene.objects, item, count=4)
        lessons.append((grid, [trainer.teacher.choose(grid, options, answer)]))
    logits, labels = trainer.logits(features, lessons)
    letters = torch.tensor(trainer.family.tokenizer.convert_tokens_to_ids(list("ABCD")))
    right = []
    for rows, answer in zip(logits, labels, strict=True):
        place = int((answer >= 0).nonzero()[0, 0])
        right.append(float(letters[rows[place, letters].argmax()] == answer[place]))
    return right

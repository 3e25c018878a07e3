"""Inputs of scores that run a model: three noise images with six descriptions."""

import pandas as pd

from headimpact.models import prompts
from headimpact.scores.inputs import ScoreInputs

SIZES = {"a.png": (108, 72), "b.png": (72, 108), "c.png": (108, 108)}
SAMPLES = pd.DataFrame(
    [(7, "a.png", 108, 72), (3, "b.png", 72, 108), (5, "c.png", 108, 108)],
    columns=["sample_id", "file_name", "width", "height"],
    index=[12, 4, 31],  # as those of a split, which are some of a study's samples
)
OBJECTS = pd.DataFrame(
    [
        (7, 0, "a small red circle"),
        (7, 1, "a cat"),
        (3, 2, "a large blue moon"),
        (99, 3, "an object of another split"),
        (5, 4, "a large green star"),
        (5, 5, "a star"),
        (5, 6, "a small heart"),
    ],
    columns=["sample_id", "object_id", "description"],
)


class Images:
    """In place of a CocoFolder."""

    def __init__(self, photo):
        self.images = {name: photo(*size, seed=7) for name, size in SIZES.items()}

    def image(self, file_name):
        return self.images[file_name]


def score_inputs(model_and_family, photo, objects=OBJECTS):
    """The ScoreInputs of a model for a score that needs "model"."""
    model, family = model_and_family
    return ScoreInputs(SAMPLES, objects, images=Images(photo), model=model, family=family)


def conversations(inputs):
    """(sample_id, object_id, image, Sequence) of each object of the samples."""
    rows = inputs.objects.merge(inputs.samples, on="sample_id")
    for row in rows.itertuples():
        grid = inputs.family.grid(row.width, row.height)
        sequence = prompts.description(inputs.family, grid, row.description)
        yield row.sample_id, row.object_id, inputs.images.image(row.file_name), sequence

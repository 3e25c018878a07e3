"""Runs a model over images and their key objects, and keeps where each attention head looks."""

from functools import partial
from itertools import chain

import numpy as np

from headimpact.guards import AdaptiveBatch, NotFiniteError
from headimpact.models import prompts
from headimpact.models.continuations import score_continuations
from headimpact.models.features import compute
from headimpact.scores.head_impact import binarise, pack


def attend(model, family, folder, samples, objects, batch, one_pass=True):
    """Which image tokens lie above the mean, for each object, layer and head (section 4).

    folder: where the images lie (`image(file_name)`). samples, objects: tables of those kinds;
    objects of other samples are left alone. batch: most descriptions of one image at once,
    fewer where a GPU has too little memory; one_pass: see
    `score_continuations`.
    Yields a table (dict of columns) of kind "attended" for each image. Raises
    FloatingPointError, naming the sample and the layer, if the model's attention is not finite.
    """
    room = AdaptiveBatch(batch, "attention")
    by_sample = dict(list(objects.groupby("sample_id")))
    layer_of, head_of = np.indices((family.layers, family.heads)).reshape(2, -1)
    for sample, features in compute(model, family, folder, samples, desc="attention"):
        mine = by_sample[sample.sample_id]
        grid = family.grid(sample.width, sample.height)
        sequences = [prompts.description(family, grid, text) for text in mine["description"]]
        run = partial(
            score_continuations, *(model, family, features, grid), attention=True, one_pass=one_pass
        )
        try:
            scored = chain.from_iterable(room(run, sequences))
        except FloatingPointError as error:
            where = f"sample {sample.sample_id} ({sample.file_name})"
            raise NotFiniteError(f"{where}: {error}") from error
        # thresholds are taken where the model runs: beside a GPU, a CPU would be waited for
        attended = [binarise(one.attention.double()).cpu().numpy() for one in scored]
        yield {
            "object_id": np.repeat(mine["object_id"].to_numpy(), len(layer_of)),
            "layer": np.tile(layer_of, len(mine)),
            "head": np.tile(head_of, len(mine)),
            "attended": [row for one in attended for row in pack(one)],
        }

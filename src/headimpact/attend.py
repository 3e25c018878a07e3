"""Runs a model over images and their key objects, and keeps where each attention head looks."""

import numpy as np
from tqdm import tqdm

from headimpact.impact import binarise, pack
from headimpact.scoring import score


def attend(model, family, folder, samples, objects, batch):
    """Which image tokens lie above the mean, for each object, layer and head (section 4).

    folder: where the images lie (`image(file_name)`). samples, objects: tables of those kinds;
    objects of other samples are left alone. batch: most descriptions of one image at once.
    Returns a table (dict of columns) of kind "attended". Raises FloatingPointError, naming the
    sample, if the model's attention is not finite.
    """
    columns = {"object_id": [], "layer": [], "head": [], "attended": []}
    by_sample = dict(list(objects.groupby("sample_id")))
    heads = family.layers * family.heads
    layer_of, head_of = np.indices((family.layers, family.heads)).reshape(2, -1).tolist()
    for sample in tqdm(list(samples.itertuples()), desc="attention", unit="image"):
        mine = by_sample[sample.sample_id]
        grid = family.grid(sample.width, sample.height)
        (features,) = family.features(model, [folder.image(sample.file_name)])
        sequences = [family.description(grid, text) for text in mine["description"]]
        scored = []
        try:
            for i in range(0, len(sequences), batch):
                part = sequences[i : i + batch]
                scored += score(model, family, features, grid, part, attention=True)
        except FloatingPointError as error:
            raise FloatingPointError(
                f"sample {sample.sample_id} ({sample.file_name}): {error}"
            ) from error
        for object_id, one in zip(mine["object_id"], scored, strict=True):
            attended = binarise(one.attention).reshape(heads, -1)
            columns["object_id"] += [object_id] * heads
            columns["attended"] += [pack(row) for row in attended]
            columns["layer"] += layer_of
            columns["head"] += head_of
    return columns

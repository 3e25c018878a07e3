"""Runs a model over images and their key objects, and measures where each head looks."""

from collections.abc import Iterator
from functools import partial
from itertools import chain

import numpy as np
import pandas as pd
import torch

from headimpact.dataset.coco import CocoFolder
from headimpact.dataset.masks import decode
from headimpact.guards import AdaptiveBatch
from headimpact.models import prompts
from headimpact.models.continuations import score_continuations
from headimpact.models.family import TokenGrid
from headimpact.models.features import compute
from headimpact.scores.components import component_entropy
from headimpact.scores.coverage import coverage


def measure_attention(
    model,
    family,
    images: CocoFolder,
    samples: pd.DataFrame,
    objects: pd.DataFrame,
    batch: int,
    one_pass: bool = True,
) -> Iterator[dict]:
    """Where each attention head looks for each object, from one pass of the model an image.

    samples, objects: tables of those kinds; objects of other samples are left out. batch: most
    descriptions of one image at once, fewer where a GPU runs out of memory. one_pass: see
    `score_continuations`.
    Yields a table (dict of columns) of kind "attention" for each image. Raises NotFiniteError,
    naming the sample and the layer, if the model's attention is not finite.
    """
    run_in_batches = AdaptiveBatch(batch, "attention")
    score = partial(score_continuations, model, family, attention=True, one_pass=one_pass)
    objects_of = dict(list(objects.groupby("sample_id")))
    layers, heads = np.indices((family.layers, family.heads)).reshape(2, -1)
    samples = samples[samples["sample_id"].isin(objects_of)]
    for sample, features in compute(model, family, images, samples, desc="attention"):
        items = objects_of[sample.sample_id]
        image = family.encoded_image(sample, features)
        conversations = [
            (image, prompts.description(family, image.grid, text)) for text in items["description"]
        ]
        covered = [
            coverage(decode(mask, sample.height, sample.width), image.grid.rectangles)
            for mask in items["mask"]
        ]
        scores = chain.from_iterable(run_in_batches(score, conversations))
        columns = [
            head_columns(score.attention, mask_coverage, image.grid)
            for score, mask_coverage in zip(scores, covered, strict=True)
        ]
        yield {
            "object_id": np.repeat(items["object_id"].to_numpy(), len(layers)),
            "layer": np.tile(layers, len(items)),
            "head": np.tile(heads, len(items)),
            **{name: list(chain.from_iterable(c[name] for c in columns)) for name in columns[0]},
        }


def head_columns(attention: torch.Tensor, covered: np.ndarray, grid: TokenGrid) -> dict:
    """The columns of kind "attention" of one object, a row a layer and head.

    attention: float32 (layers, heads, visual tokens), averaged over the description's tokens.
    covered: float32 (visual tokens,), the object's coverage of each.
    """
    attention = attention.flatten(0, 1).double()
    # all but the entropy is computed where the model runs, so that a GPU waits less for the CPU
    excess = (attention - attention.mean(-1, keepdim=True)).cpu().numpy()
    tile = grid.tiles[0]
    columns = {
        "image_mass": attention.sum(-1),
        "object_mass": attention @ torch.from_numpy(covered).to(attention),
        "top_token": attention.argmax(-1),
    }
    return {
        "attended": pack(binarise(attention).cpu().numpy()),
        **{name: column.cpu().numpy() for name, column in columns.items()},
        "spatial_entropy": component_entropy(excess, (len(grid.tiles), tile.rows, tile.columns)),
    }


def binarise(attention: np.ndarray | torch.Tensor) -> np.ndarray | torch.Tensor:
    """True where attention lies above its mean over all image tokens (section 4).

    attention: float64 (..., visual tokens), an array or a tensor, averaged over the description's
    tokens; one threshold an object, layer and head. Returns bool of the same shape. What equals
    the mean is False.
    """
    return attention > attention.mean(-1)[..., None]


def pack(attended: np.ndarray) -> list[bytes]:
    """bool (..., visual tokens) as a list of bytes, eight tokens a byte, row by row."""
    packed = np.packbits(attended, axis=-1)
    return [row.tobytes() for row in packed.reshape(-1, packed.shape[-1])]

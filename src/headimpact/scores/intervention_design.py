"""Which images take part in interventions, and which heads lose their image reads there.

Items are objects of the split impact, one an image, so that errors are over independent images, and
nothing of the test split decides which layers are trained.
"""

import numpy as np
import pandas as pd

from headimpact import score_registry
from headimpact.guards import UserError


def shuffle_items(
    samples: pd.DataFrame, objects: pd.DataFrame, split: str, seed: int
) -> pd.DataFrame:
    """An object of each image of a split that has one, in an order that the seed decides.

    samples, objects: tables of those kinds. Returns a table of kind "objects", whose first rows are
    the items of a study that takes fewer.
    """
    in_split = samples.loc[samples["split"] == split, "sample_id"]
    objects = objects[objects["sample_id"].isin(in_split)]
    shuffled = objects.iloc[np.random.default_rng(seed).permutation(len(objects))]
    return shuffled.drop_duplicates("sample_id").reset_index(drop=True)


def draw_items(
    samples: pd.DataFrame, objects: pd.DataFrame, first: int, count: int, seed: int
) -> pd.DataFrame:
    """Objects of the split impact, a table of kind "objects", one an image.

    The images are shuffled by the seed, and of each image an object is drawn; the items are number
    `first` to `first + count - 1` of them. Raises UserError if there are fewer.
    """
    items = shuffle_items(samples, objects, "impact", seed)
    if len(items) < first + count:
        raise UserError(
            f"interventions: asks for {first + count} images of the split impact, which has "
            f"{len(items)} with an object; lower interventions.items, fresh_items or single_items"
        )
    return items.iloc[first : first + count].reset_index(drop=True)


def ablated_heads(
    object_id: int,
    layers: int,
    heads: int,
    design: str,
    seed: int,
    masks: int | None = None,
    keep: float | None = None,
) -> np.ndarray:
    """The sets of heads that lose their image reads in an item, bool (sets, layers, heads).

    design: "single", each head alone; "random" or "fresh", `masks` sets in which a head is kept
    with the probability `keep`. They depend on seed, design and object alone.
    """
    if design == "single":
        return np.eye(layers * heads, dtype=bool).reshape(-1, layers, heads)
    rng = np.random.default_rng([seed, score_registry.DESIGNS.index(design), object_id])
    return rng.random((masks, layers, heads)) >= keep

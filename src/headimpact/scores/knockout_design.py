"""What a knockout takes away: which layers, which rows of the text, which tokens of the image.

Attention knockout by a window of layers: Geva et al. (2023), arXiv 2304.14767, and for models with
images Zhang et al. (2025), arXiv 2411.18620.
"""

import numpy as np
import pandas as pd
import torch

from headimpact.models.family import Sequence
from headimpact.scores.coverage import add_rings, mask_tokens, token_masks
from headimpact.scores.specific import other_masks

HALF = 0.5  # the share of a token that an object covers at least, for all sources but object_any


def window(centre: int, width: int, layers: int) -> range:
    """The layers of the window around `centre`, `width` of them unless an end clips it.

    An even window has one more layer below its centre than above it.
    """
    first = centre - width // 2
    return range(max(first, 0), min(first + width, layers))


def row_set(rows: str, tokens: range, sequence: Sequence) -> torch.Tensor:
    """The rows of that name, BoolTensor (branch tokens,).

    rows: one of knockout_names.ROWS. tokens: what `branch_tokens` returns for the sequence.
    """
    index, last = torch.tensor(tokens), sequence.start - 1
    return {
        "description": index >= last,
        "prompt": index <= last,
        "last": index == last,
        "text": index >= 0,
    }[rows]


def token_sets(
    tokens: pd.DataFrame, objects: pd.DataFrame, object_ids: list[int], seed: int
) -> dict[int, dict[str, np.ndarray]]:
    """The image tokens of each source, {object_id: {source: bool (visual tokens,)}}.

    tokens, objects: tables of those kinds, of all objects in the images of `object_ids`. The
    sources are those of knockout_names.SOURCES. The random tokens, and which other object of
    another description it is, depend on the seed and the object alone. A source without a token is
    left out.
    """
    others, _ = other_masks(objects, token_masks(tokens, HALF, rings=1))
    rows = tokens.set_index("object_id", drop=False).loc[object_ids]
    return {
        row.object_id: _sources(row, others.get(row.object_id, []), seed)
        for row in rows.itertuples()
    }


def _sources(row, others: list[np.ndarray], seed: int) -> dict[str, np.ndarray]:
    """The sources of an object; row: its row of `tokens`. others: the masks of other objects."""
    grid, rng = (row.tiles, row.rows, row.columns), np.random.default_rng([seed, row.object_id])
    half, any_overlap = mask_tokens(row.coverage, HALF), mask_tokens(row.coverage, 0)
    ring = add_rings(half, grid, 1)
    sources = {
        "object": half,
        "object_any": any_overlap,
        "object_ring": ring,
        "object_two_rings": add_rings(half, grid, 2),
        "background": ~any_overlap,
        "image": np.ones_like(half),
        "random": rng.permutation(ring),
    }
    if others:
        sources["other_object"] = others[rng.integers(len(others))] & ~any_overlap
    return {name: mask for name, mask in sources.items() if mask.any()}

"""An object's coverage on a model's token grid: how much of what a token sees is the object."""

from collections.abc import Iterator
from typing import Any

import numpy as np
import pandas as pd
from tqdm import tqdm

from headimpact.dataset.masks import decode


def coverage(mask: np.ndarray, rectangles: np.ndarray) -> np.ndarray:
    """Share of each visual token's area that lies inside `mask` (section 4, Fig. 2 right).

    mask: bool or 0/1, shape (height, width), one value a pixel of the original image.
    rectangles: float, shape (tokens, 4), x0, y0, x1, y1 in pixels of the original image,
        the part that each token sees; edges may fall inside a pixel.
    Returns float32, shape (tokens,), from 0 to 1. Exact: a pixel cut by an edge counts by area.
    """
    height, width = mask.shape
    summed = np.zeros((height + 1, width + 1))
    summed[1:, 1:] = mask.astype(np.float64).cumsum(0).cumsum(1)
    x0, y0, x1, y1 = np.asarray(rectangles, dtype=np.float64).T
    inside = _at(summed, y1, x1) - _at(summed, y0, x1) - _at(summed, y1, x0) + _at(summed, y0, x0)
    return np.clip(inside / ((x1 - x0) * (y1 - y0)), 0, 1).astype(np.float32)


def _at(summed, y, x):
    """Bilinear reading of a summed-area table; exact, since a mask is constant within a pixel."""
    row = np.clip(np.floor(y).astype(int), 0, summed.shape[0] - 2)
    column = np.clip(np.floor(x).astype(int), 0, summed.shape[1] - 2)
    down, right = y - row, x - column
    return (
        summed[row, column] * (1 - down) * (1 - right)
        + summed[row + 1, column] * down * (1 - right)
        + summed[row, column + 1] * (1 - down) * right
        + summed[row + 1, column + 1] * down * right
    )


def mask_tokens(coverage: np.ndarray, share: float) -> np.ndarray:
    """Which visual tokens belong to the key object: those that it covers by at least `share`.

    coverage: float (..., visual tokens), 0 to 1. share: 0 means any coverage at all.
    """
    coverage = np.asarray(coverage)
    return coverage >= share if share > 0 else coverage > 0


def token_masks(tokens: pd.DataFrame, mask_share: float, rings: int = 0) -> dict[int, np.ndarray]:
    """The visual tokens of each object: bool (visual tokens,) by object_id.

    tokens: a table of kind "tokens", or of kind "shifted_tokens" joined with the grids of one.
    mask_share: see `mask_tokens`. rings: how many rings of neighbouring tokens, diagonal ones
    included, are added; a ring ends at the edge of its tile. An object that covers no token by
    mask_share is left out.
    """
    masks = {}
    for row in tokens.itertuples():
        mask = mask_tokens(row.coverage, mask_share)
        if mask.any():
            masks[row.object_id] = add_rings(mask, (row.tiles, row.rows, row.columns), rings)
    return masks


def add_rings(mask: np.ndarray, grid: tuple[int, int, int], rings: int) -> np.ndarray:
    """`mask` and the tokens within `rings` rows and columns of it in the same tile.

    mask: bool (visual tokens,). grid: tiles, rows and columns. Returns bool (visual tokens,).
    """
    padded = np.pad(mask.reshape(grid), ((0, 0), (rings, rings), (rings, rings)))
    windows = np.lib.stride_tricks.sliding_window_view(padded, (2 * rings + 1,) * 2, axis=(1, 2))
    return windows.any((-1, -2)).ravel()


def object_tokens(family, samples: pd.DataFrame, objects: pd.DataFrame) -> list[dict]:
    """Coverage of every object of `samples` on the family's grid; rows of kind "tokens"."""
    return [
        {
            "object_id": object_id,
            "tiles": len(grid.tiles),
            "rows": grid.tiles[0].rows,
            "columns": grid.tiles[0].columns,
            "coverage": coverage(mask, grid.rectangles),
        }
        for object_id, mask, grid in _masks_with_grids(family, samples, objects)
    ]


def shifted_tokens(
    family, samples: pd.DataFrame, objects: pd.DataFrame, shifts: int, seed: int
) -> list[dict]:
    """Coverage of every object's mask, moved away; rows of kind "shifted_tokens".

    shifts: how often each object's mask is moved by random distances down and to the right; what
    leaves the image at one edge enters it at the opposite one. The distances depend on `seed` and
    the object alone.
    """
    rows = []
    for object_id, mask, grid in _masks_with_grids(family, samples, objects):
        distances = np.random.default_rng((seed, object_id)).integers(mask.shape, size=(shifts, 2))
        for shift, distance in enumerate(distances):
            moved = np.roll(mask, distance, axis=(0, 1))
            covered = coverage(moved, grid.rectangles)
            rows.append({"object_id": object_id, "shift": shift, "coverage": covered})
    return rows


def _masks_with_grids(
    family, samples: pd.DataFrame, objects: pd.DataFrame
) -> Iterator[tuple[int, np.ndarray, Any]]:
    """The id, mask and TokenGrid of every object of `samples`; bool masks (height, width)."""
    samples = samples.set_index("sample_id")
    wanted = objects[objects["sample_id"].isin(samples.index)]
    for item in tqdm(list(wanted.itertuples()), desc="tokens", unit="object"):
        sample = samples.loc[item.sample_id]
        width, height = int(sample["width"]), int(sample["height"])
        yield item.object_id, decode(item.mask, height, width), family.grid(width, height)

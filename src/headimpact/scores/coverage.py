"""An object's coverage on a model's token grid: how much of what a token sees is the object."""

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


def object_tokens(family, samples: pd.DataFrame, objects: pd.DataFrame) -> list[dict]:
    """Coverage of every object of `samples` on the family's grid, rows of kind "tokens"."""
    rows = []
    samples = samples.set_index("sample_id")
    wanted = objects[objects["sample_id"].isin(samples.index)]
    for item in tqdm(list(wanted.itertuples()), desc="tokens", unit="object"):
        sample = samples.loc[item.sample_id]
        width, height = int(sample["width"]), int(sample["height"])
        grid = family.grid(width, height)
        rows.append(
            {
                "object_id": item.object_id,
                "tiles": len(grid.tiles),
                "rows": grid.tiles[0].rows,
                "columns": grid.tiles[0].columns,
                "coverage": coverage(decode(item.mask, height, width), grid.rectangles),
            }
        )
    return rows

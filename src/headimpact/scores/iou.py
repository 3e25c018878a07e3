"""Intersection over union of the tokens that a head attends to and the tokens of masks."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from headimpact.guards import UserError


def attended_by_object(
    tokens: pd.DataFrame, attention: pd.DataFrame
) -> Iterator[tuple[int, np.ndarray]]:
    """Yield each object's id and its attended tokens, bool (layers, heads, visual tokens).

    tokens, attention: tables of those kinds, of the same objects; objects come in ascending order
    of their ids. Raises UserError if the tables are of different objects.
    """
    counts = {row.object_id: len(row.coverage) for row in tokens.itertuples()}
    if set(attention["object_id"]) != set(counts):
        raise UserError("tokens and attention are of other objects; delete both and run again")
    attention = attention.sort_values(["object_id", "layer", "head"], ignore_index=True)
    layers, heads = attention["layer"].max() + 1, attention["head"].max() + 1
    for object_id, rows in attention.groupby("object_id")["attended"]:
        bits = unpack(rows.tolist(), counts[object_id])
        yield object_id, bits.reshape(layers, heads, -1)


def unpack(packed: list[bytes], tokens: int) -> np.ndarray:
    """The bits of `scores.attention.pack` as bool (len(packed), tokens).

    Raises UserError if the bytes do not hold that many tokens.
    """
    width = -(-tokens // 8)
    if any(len(row) != width for row in packed):
        raise UserError(f"attended tokens are not {tokens} bits; delete the file and run again")
    rows = np.frombuffer(b"".join(packed), np.uint8).reshape(len(packed), width)
    return np.unpackbits(rows, axis=1, count=tokens).astype(bool)


def iou(attended: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Intersection over union of attended tokens and mask tokens, equation (1).

    attended: bool (..., visual tokens). mask: bool (visual tokens,), not empty.
    Returns float64 (...,), from 0 to 1.
    """
    if not mask.any():
        raise ValueError("no token belongs to the mask, so that IoU is not defined")
    return (attended & mask).sum(-1) / (attended | mask).sum(-1)


def mean_iou(attended: np.ndarray, masks: list[np.ndarray]) -> np.ndarray:
    """The mean of `iou` over several masks, float64 (...,)."""
    return np.mean([iou(attended, mask) for mask in masks], axis=0)


def random_iou(attended: np.ndarray, mask_size: int, tokens: int) -> np.ndarray:
    """The expected IoU of a mask with as many tokens as are attended, drawn at random.

    attended: int (...,), how many tokens are attended. mask_size: how many tokens the mask has.
    tokens: how many there are. Returns float64 (...,): the mean of k / (attended + mask_size - k)
    where k, the tokens that are in both, is hypergeometric.
    """
    from scipy.stats import hypergeom  # The import takes half a second, and few callers need it.

    sizes, index = np.unique(attended, return_inverse=True)
    common = np.arange(mask_size + 1)
    probabilities = hypergeom.pmf(common, tokens, mask_size, sizes[:, None])
    # a union of 0 needs more tokens in common than are attended, which has the probability 0
    unions = np.maximum(sizes[:, None] + mask_size - common, 1)
    return (probabilities * common / unions).sum(-1)[index].reshape(np.shape(attended))

"""Head Impact: where each attention head looks, against where the key object is (section 4)."""

import numpy as np
import pandas as pd

from headimpact.guards import UserError
from headimpact.scores.coverage import mask_tokens
from headimpact.scores.inputs import ScoreInputs, Scores
from headimpact.statistics import clustered_error


def head_impact(inputs: ScoreInputs, mask_share: float, average_over: str) -> Scores:
    """Head Impact of every head, equation (2), with its standard error clustered by image.

    mask_share: see `mask_tokens`; average_over: see `average`. Objects that cover no token are
    left out. Raises UserError if none is left.
    """
    ids, ious = object_ious(inputs.tokens, inputs.attention, mask_share)
    return average(ious, images_of(ids, inputs.objects), average_over)


def object_ious(
    tokens: pd.DataFrame, attention: pd.DataFrame, mask_share: float
) -> tuple[np.ndarray, np.ndarray]:
    """IoU of each object, layer and head, equation (1), from the stored attention.

    tokens, attention: tables of those kinds, of the same objects. Returns the ids (objects,) and
    float64 (objects, layers, heads). Objects that cover no token are left out; raises UserError
    if none is left.
    """
    masks = {row.object_id: mask_tokens(row.coverage, mask_share) for row in tokens.itertuples()}
    covering = {object_id for object_id, mask in masks.items() if mask.any()}
    if set(attention["object_id"]) != set(masks):
        raise UserError("tokens and attention are of other objects; delete both and run again")
    if not covering:
        raise UserError(f"no object covers {mask_share} of any token; lower mask_share")
    rows = attention[attention["object_id"].isin(covering)]
    rows = rows.sort_values(["object_id", "layer", "head"], ignore_index=True)
    values = np.empty(len(rows))
    for object_id, places in rows.groupby("object_id").indices.items():
        mask = masks[object_id]
        attended = unpack(rows["attended"].iloc[places].tolist(), len(mask))
        values[places] = iou(attended, mask)
    layers, heads = rows["layer"].max() + 1, rows["head"].max() + 1
    ids = rows["object_id"].unique()
    return ids, values.reshape(len(ids), layers, heads)


def images_of(object_ids: np.ndarray, objects: pd.DataFrame) -> np.ndarray:
    """The sample of each object, by which errors are clustered."""
    return objects.set_index("object_id")["sample_id"].loc[object_ids].to_numpy()


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


def average(ious: np.ndarray, clusters: np.ndarray, average_over: str) -> Scores:
    """Head Impact of each head, equation (2), with its standard error.

    ious: float (objects, layers, heads). clusters: (objects,), the image of each object.
    average_over: "objects", a mean over all objects, or "images", over the images' means.
    """
    if average_over == "images":
        clusters, index = np.unique(clusters, return_inverse=True)
        sums = np.zeros((len(clusters), *ious.shape[1:]))
        np.add.at(sums, index, ious)
        ious = sums / np.bincount(index).reshape(-1, 1, 1)
    return Scores(ious.mean(0), clustered_error(ious, clusters), len(ious))

"""Head Impact: where each attention head looks, against where the key object is (section 4)."""

import numpy as np
import pandas as pd

from headimpact.guards import UserError
from headimpact.statistics import clustered_error


def binarise(attention):
    """True where attention lies above its mean over all image tokens (section 4).

    attention: float64 (..., visual tokens), an array or a tensor, averaged over the description's
    tokens; one threshold an object, layer and head. Returns bool of the same shape. What equals
    the mean is False.
    """
    return attention > attention.mean(-1)[..., None]


def pack(attended):
    """bool (..., visual tokens) as a list of bytes, eight tokens a byte."""
    packed = np.packbits(attended, axis=-1)
    return [row.tobytes() for row in packed.reshape(-1, packed.shape[-1])]


def unpack(packed, tokens):
    """Undo `pack`: list of bytes to bool (len(packed), tokens).

    Raises ValueError if the bytes do not hold that many tokens.
    """
    width = -(-tokens // 8)
    if any(len(row) != width for row in packed):
        raise UserError(f"attended tokens are not {tokens} bits; delete the file and run again")
    rows = np.frombuffer(b"".join(packed), np.uint8).reshape(len(packed), width)
    return np.unpackbits(rows, axis=1, count=tokens).astype(bool)


def mask_tokens(coverage, share):
    """Which visual tokens belong to the key object: those covered by at least `share` of it.

    coverage: float (..., visual tokens), 0 to 1. share: 0 means any coverage at all.
    """
    coverage = np.asarray(coverage)
    return coverage >= share if share > 0 else coverage > 0


def iou(attended, mask):
    """Intersection over union of attended tokens and mask tokens, equation (1).

    attended: bool (..., visual tokens). mask: bool (visual tokens,), not empty.
    Returns float64 (...,), from 0 to 1.
    """
    if not mask.any():
        raise UserError("no token belongs to the mask, so that IoU is not defined")
    return (attended & mask).sum(-1) / (attended | mask).sum(-1)


def head_impact(ious, clusters, average_over):
    """Head Impact of each head, equation (2), with its standard error.

    ious: float (objects, layers, heads). clusters: (objects,), the image of each object.
    average_over: "objects", a mean over all objects, or "images", over the images' means.
    Returns value and standard error, float64 (layers, heads), and n, how many were averaged.
    The errors are clustered by image.
    """
    if average_over == "images":
        clusters, index = np.unique(clusters, return_inverse=True)
        sums = np.zeros((len(clusters), *ious.shape[1:]))
        np.add.at(sums, index, ious)
        ious = sums / np.bincount(index).reshape(-1, 1, 1)
    return ious.mean(0), clustered_error(ious, clusters), len(ious)


def measure(samples, objects, tokens, attended, share, average_over):
    """Head Impact of every head from what was kept of its attention; no model is needed.

    Tables of kinds samples, objects, tokens and attended. share: see `mask_tokens`;
    average_over: see `head_impact`. Returns the tables "impact" and "head_scores" and the
    objects (object_id, description) that no token holds, which are left out of both.
    Raises ValueError if no object is left, or tokens and attention are not of the same objects.
    """
    masks = {row.object_id: mask_tokens(row.coverage, share) for row in tokens.itertuples()}
    seen = {object_id for object_id, mask in masks.items() if mask.any()}
    if set(attended["object_id"]) != set(masks):
        raise UserError("tokens and attention are of other objects; delete both and run again")
    if not seen:
        raise UserError(f"no object covers {share} of any token; lower impact.mask_share")
    kept = attended[attended["object_id"].isin(seen)]
    kept = kept.sort_values(["object_id", "layer", "head"], ignore_index=True)
    values = np.empty(len(kept))
    for object_id, rows in kept.groupby("object_id").indices.items():
        mask = masks[object_id]
        values[rows] = iou(unpack(kept["attended"].iloc[rows].tolist(), len(mask)), mask)
    impact = kept.drop(columns="attended").assign(iou=values)
    layers, heads = impact["layer"].max() + 1, impact["head"].max() + 1
    ids = impact["object_id"].unique()
    image = objects.merge(samples, on="sample_id").set_index("object_id")["image_id"]
    value, error, n = head_impact(
        impact["iou"].to_numpy().reshape(len(ids), layers, heads),
        image.loc[ids].to_numpy(),
        average_over,
    )
    grid = np.indices((layers, heads)).reshape(2, -1)
    scores = pd.DataFrame(
        {
            "score": "head_impact",
            "layer": grid[0],
            "head": grid[1],
            "value": value.ravel(),
            "standard_error": error.ravel(),
            "n": n,
        }
    )
    unseen = objects[objects["object_id"].isin(set(masks) - seen)]
    return impact, scores, unseen[["object_id", "description"]]

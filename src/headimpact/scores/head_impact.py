"""Head Impact: where each attention head looks, against where the key object is (section 4)."""

from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import pandas as pd

from headimpact.guards import UserError
from headimpact.scores.attention_table import attended_by_object
from headimpact.scores.coverage import token_masks
from headimpact.scores.inputs import ScoreInputs, Scores
from headimpact.scores.iou import iou, random_iou
from headimpact.statistics import cluster_sums, clustered_error


def head_impact(inputs: ScoreInputs, mask_share: float, rings: int, average_over: str) -> Scores:
    """Head Impact of every head, equation (2), with its standard error clustered by image.

    mask_share, rings: see `token_masks`; average_over: see `average`. Objects that cover no token
    are left out. The null is the IoU that as many random tokens have, see `random_iou`. Raises
    UserError if no object is left.
    """
    ids, ious, random_ious = overlaps(inputs, mask_share, rings)
    return average_objects(inputs, ids, ious, average_over, random_ious)


def overlaps(
    inputs: ScoreInputs, mask_share: float, rings: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """IoU of attended tokens and mask of each object that covers a token, see `head_impact`.

    Returns the objects' ids, (objects,), in ascending order; their IoUs, and those of as many
    random tokens, both float64 (objects, layers, heads).
    """
    masks = token_masks(inputs.tokens, mask_share, rings)
    ids, ious, random_ious = [], [], []
    for object_id, attended, mask in covering_objects(inputs, masks):
        ids.append(object_id)
        ious.append(iou(attended, mask))
        random_ious.append(random_iou(attended.sum(-1), mask.sum(), len(mask)))
    return np.array(ids), np.array(ious), np.array(random_ious)


def covering_objects(
    inputs: ScoreInputs, masks: dict[int, np.ndarray]
) -> Iterator[tuple[int, np.ndarray, np.ndarray]]:
    """Yield id, attended tokens (layers, heads, visual tokens) and mask of each object in `masks`.

    Raises UserError if there is none, or if tokens and attention are of different objects.
    """
    if not masks:
        raise UserError("no object covers enough of any token; lower mask_share")
    for object_id, attended in attended_by_object(inputs.tokens, inputs.attention):
        if object_id in masks:
            yield object_id, attended, masks[object_id]


def average_objects(
    inputs: ScoreInputs,
    object_ids: Sequence[int] | np.ndarray,
    values: Sequence[np.ndarray] | np.ndarray,
    average_over: str,
    nulls: Sequence[np.ndarray] | np.ndarray | None = None,
) -> Scores:
    """`average` over objects, with the cost of the attention that `values` come from.

    values, nulls: float (layers, heads) for each of `object_ids`.
    """
    images = images_of(object_ids, inputs.objects)
    nulls = None if nulls is None else np.array(nulls)
    scores = average(np.array(values), images, average_over, nulls)
    return replace(scores, cost=inputs.attention_passes())


def images_of(object_ids: Sequence[int] | np.ndarray, objects: pd.DataFrame) -> np.ndarray:
    """The sample of each object, by which errors are clustered."""
    return objects.set_index("object_id")["sample_id"].loc[object_ids].to_numpy()


def average(
    values: np.ndarray, images: np.ndarray, average_over: str, nulls: np.ndarray | None = None
) -> Scores:
    """Mean over objects of a value of each head, as in equation (2), with its standard error.

    values: float (objects, layers, heads), for Head Impact the IoU of each object. images:
    (objects,), the image of each object. average_over: "objects", a mean over all objects, or
    "images", over the images' means. nulls: of the shape of `values`, what chance gives for each
    object.
    """
    if average_over == "images":
        names = np.unique(images)
        nulls = None if nulls is None else _mean_by_image(nulls, images)
        values, images = _mean_by_image(values, images), names
    return Scores(
        value=values.mean(0),
        standard_error=clustered_error(values, images),
        n=len(values),
        null=None if nulls is None else nulls.mean(0),
        items=values,
        images=images,
    )


def _mean_by_image(values: np.ndarray, images: np.ndarray) -> np.ndarray:
    _, counts = np.unique(images, return_counts=True)
    return cluster_sums(values, images) / counts.reshape(-1, *[1] * (values.ndim - 1))

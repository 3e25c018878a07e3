"""Head Impact: where each attention head looks, against where the key object is (section 4)."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from headimpact.guards import UserError
from headimpact.scores.coverage import token_masks
from headimpact.scores.inputs import ScoreInputs, Scores
from headimpact.scores.iou import attended_by_object, iou, random_iou
from headimpact.statistics import cluster_sums, clustered_error


def head_impact(inputs: ScoreInputs, mask_share: float, rings: int, average_over: str) -> Scores:
    """Head Impact of every head, equation (2), with its standard error clustered by image.

    mask_share, rings: see `token_masks`; average_over: see `average`. Objects that cover no token
    are left out. The null is the IoU that as many random tokens have, see `random_iou`. Raises
    UserError if no object is left.
    """
    masks = token_masks(inputs.tokens, mask_share, rings)
    ids, ious, nulls = [], [], []
    for object_id, attended, mask in covering_objects(inputs, masks):
        ids.append(object_id)
        ious.append(iou(attended, mask))
        nulls.append(random_iou(attended.sum(-1), mask.sum(), len(mask)))
    return average(np.array(ious), images_of(ids, inputs.objects), average_over, np.array(nulls))


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


def images_of(object_ids: list[int] | np.ndarray, objects: pd.DataFrame) -> np.ndarray:
    """The sample of each object, by which errors are clustered."""
    return objects.set_index("object_id")["sample_id"].loc[object_ids].to_numpy()


def average(
    values: np.ndarray, images: np.ndarray, average_over: str, nulls: np.ndarray | None = None
) -> Scores:
    """Head Impact of each head, equation (2), with its standard error.

    values: float (objects, layers, heads), the IoU of each object. images: (objects,), the image
    of each object. average_over: "objects", a mean over all objects, or "images", over the
    images' means. nulls: of the shape of `values`, what chance gives for each object.
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

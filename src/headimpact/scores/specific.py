"""Specific Head Impact: how much more a head looks at the described object than at others."""

from collections import Counter

import numpy as np
import pandas as pd

from headimpact.guards import UserError
from headimpact.scores.coverage import token_masks
from headimpact.scores.head_impact import average_objects, covering_objects
from headimpact.scores.inputs import ScoreInputs, Scores
from headimpact.scores.iou import iou, mean_iou

ALONE, EQUAL = "no other object in the image", "only objects of an equal description"


def specific_head_impact(
    inputs: ScoreInputs, mask_share: float, rings: int, average_over: str
) -> Scores:
    """Head Impact minus the mean IoU of the same attention with the image's other objects.

    The options are those of `head_impact`. Only objects of `other_masks` count. Chance gives 0
    where the objects cover equally many tokens. Raises UserError if no object counts.
    """
    masks = token_masks(inputs.tokens, mask_share, rings)
    others, left_out = other_masks(inputs.objects, masks)
    if not others:
        raise UserError(
            f"no image has two objects that cover a token and differ in their description "
            f"({left_out[ALONE]} objects: {ALONE}; {left_out[EQUAL]}: {EQUAL}); raise "
            f"sampling.objects_per_image.impact or lower mask_share"
        )
    ids, differences = [], []
    for object_id, attended, mask in covering_objects(inputs, masks):
        if object_id in others:
            ids.append(object_id)
            differences.append(iou(attended, mask) - mean_iou(attended, others[object_id]))
    return average_objects(inputs, ids, differences, average_over)


def other_masks(
    objects: pd.DataFrame, masks: dict[int, np.ndarray]
) -> tuple[dict[int, list[np.ndarray]], Counter]:
    """The masks of the other objects in each object's image, by object_id.

    objects: a table of that kind. masks: what `token_masks` returns. The other objects are those in
    `masks` that are in the same image and have another description, compared without case.
    Objects without one are left out; returns also how many for the reasons ALONE and EQUAL.
    """
    objects = objects[objects["object_id"].isin(masks)].set_index("object_id")
    descriptions = objects["description"].str.casefold()
    in_image = objects.groupby("sample_id").groups
    others, left_out = {}, Counter()
    for object_id, sample_id in objects["sample_id"].items():
        neighbours = in_image[sample_id].drop(object_id)
        different = [n for n in neighbours if descriptions[n] != descriptions[object_id]]
        if different:
            others[object_id] = [masks[n] for n in different]
        else:
            left_out[EQUAL if len(neighbours) else ALONE] += 1
    return others, left_out

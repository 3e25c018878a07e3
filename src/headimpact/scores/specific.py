"""Specific Head Impact: how much more a head looks at the described object than at others."""

from collections import Counter

import numpy as np

from headimpact.guards import UserError
from headimpact.scores.coverage import token_masks
from headimpact.scores.head_impact import average, covering_objects, images_of
from headimpact.scores.inputs import ScoreInputs, Scores
from headimpact.scores.iou import iou

ALONE, EQUAL = "no other object in the image", "only objects of an equal description"


def specific_head_impact(
    inputs: ScoreInputs, mask_share: float, rings: int, average_over: str
) -> Scores:
    """Head Impact minus the mean IoU of the same attention with the image's other objects.

    The options are those of `head_impact`. Only objects of `ious_with_other_objects` count. Chance
    gives 0 where the objects cover equally many tokens. Raises UserError if no object counts.
    """
    masks = token_masks(inputs.tokens, mask_share, rings)
    ids, own, others, left_out = ious_with_other_objects(inputs, masks)
    if not ids:
        raise UserError(
            f"no image has two objects that cover a token and differ in their description "
            f"({left_out[ALONE]} objects: {ALONE}; {left_out[EQUAL]}: {EQUAL}); raise "
            f"sampling.objects_per_image.impact or lower mask_share"
        )
    return average(own - others, images_of(ids, inputs.objects), average_over)


def ious_with_other_objects(
    inputs: ScoreInputs, masks: dict[int, np.ndarray]
) -> tuple[list[int], np.ndarray, np.ndarray, Counter]:
    """The IoU of each object's attention with its own mask, and with those of other objects.

    masks: what `token_masks` returns. The other objects are those in `masks` that are in the same
    image and have another description, compared without case; the mean over them is taken.
    Returns the ids of the n objects that have another one, both IoUs as float64 (n, layers, heads),
    and how many objects are left out for the reasons ALONE and EQUAL.
    """
    objects = inputs.objects[inputs.objects["object_id"].isin(masks)].set_index("object_id")
    descriptions = objects["description"].str.casefold()
    in_image = objects.groupby("sample_id").groups
    ids, own, others, left_out = [], [], [], Counter()
    for object_id, attended, mask in covering_objects(inputs, masks):
        neighbours = in_image[objects.at[object_id, "sample_id"]].drop(object_id)
        different = [n for n in neighbours if descriptions[n] != descriptions[object_id]]
        if not different:
            left_out[EQUAL if len(neighbours) else ALONE] += 1
            continue
        ids.append(object_id)
        own.append(iou(attended, mask))
        others.append(np.mean([iou(attended, masks[n]) for n in different], axis=0))
    return ids, np.array(own), np.array(others), left_out

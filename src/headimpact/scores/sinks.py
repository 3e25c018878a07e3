"""Visual sinks: background tokens that most heads look at whatever object is described."""

import numpy as np

from headimpact.guards import UserError
from headimpact.scores.attention_table import attended_by_object
from headimpact.scores.coverage import token_masks
from headimpact.scores.head_impact import average_objects, covering_objects
from headimpact.scores.inputs import ScoreInputs, Scores
from headimpact.scores.iou import iou, random_iou


def sink_share(inputs: ScoreInputs, heads_share: float, average_over: str) -> Scores:
    """Mean over objects of the share of sinks among the tokens that a head attends to.

    It is 0 for a head that attends to none. Objects and options are those of `find_sinks`;
    average_over: see `average`. Raises UserError if no image has two objects.
    """
    sinks, ids, shares = find_sinks(inputs, heads_share), [], []
    for object_id, attended in attended_by_object(inputs.tokens, inputs.attention):
        if object_id in sinks:
            ids.append(object_id)
            counts = np.maximum(attended.sum(-1), 1)
            shares.append((attended & sinks[object_id]).sum(-1) / counts)
    return average_objects(inputs, ids, shares, average_over)


def head_impact_without_sinks(
    inputs: ScoreInputs, mask_share: float, rings: int, heads_share: float, average_over: str
) -> Scores:
    """Head Impact as if an image had no sinks: its sinks are neither attended tokens nor tokens.

    mask_share, rings, average_over: see `head_impact`; heads_share: see `find_sinks`. Only objects
    that cover a token and have sinks defined count. The null is that of Head Impact over the
    remaining tokens. Raises UserError if no object counts.
    """
    sinks = find_sinks(inputs, heads_share)
    masks = token_masks(inputs.tokens, mask_share, rings)
    masks = {object_id: mask for object_id, mask in masks.items() if object_id in sinks}
    ids, ious, nulls = [], [], []
    for object_id, attended, mask in covering_objects(inputs, masks):
        remaining = ~sinks[object_id]
        attended, mask = attended[..., remaining], mask[remaining]
        ids.append(object_id)
        ious.append(iou(attended, mask))
        nulls.append(random_iou(attended.sum(-1), mask.sum(), len(mask)))
    return average_objects(inputs, ids, ious, average_over, nulls)


def find_sinks(inputs: ScoreInputs, heads_share: float) -> dict[int, np.ndarray]:
    """The sinks of each object's image, bool (visual tokens,) by object_id.

    A sink is a token that no key object covers, and that more than `heads_share` of all heads
    attend to for each object of the image. Tokens with a part of an object do not count, because
    models look at all objects of a simple image whichever is described. Objects that are alone in
    their image are left out: what is attended to "whatever the object" is not known there. Raises
    UserError if no image has two objects.
    """
    covered = inputs.tokens.set_index("object_id")["coverage"]
    images = inputs.objects.set_index("object_id")["sample_id"]
    candidates, objects = {}, {}
    # one object is held at a time, because the bits of all heads would not fit in memory
    for object_id, attended in attended_by_object(inputs.tokens, inputs.attention):
        image = images[object_id]
        candidate = (attended.mean((0, 1)) > heads_share) & (covered[object_id] == 0)
        candidates[image] = candidates.get(image, True) & candidate
        objects.setdefault(image, []).append(object_id)
    sinks = {
        object_id: candidates[image]
        for image, neighbours in objects.items()
        for object_id in neighbours
        if len(neighbours) > 1
    }
    if not sinks:
        raise UserError(
            "no image has two objects, so that its sinks are not known; raise "
            "sampling.objects_per_image.impact"
        )
    return sinks

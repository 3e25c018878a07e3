"""What Head Impact is held against: IoUs of the same objects in which a head knows nothing of them.

All come from the attention that Head Impact itself is computed from; no model runs again, but for
the untrained model.
"""

from dataclasses import dataclass, replace

import numpy as np
import pandas as pd

from headimpact.scores.coverage import token_masks
from headimpact.scores.head_impact import average_objects, covering_objects
from headimpact.scores.inputs import ScoreInputs, Scores
from headimpact.scores.iou import iou, mean_iou, random_iou
from headimpact.scores.specific import other_masks
from headimpact.statistics import clustered_error


@dataclass(frozen=True)
class Null:
    """A null of Head Impact.

    scores: its value for every head. head_impact: Head Impact over the same objects, and chance:
    the IoU of random tokens over them, both with `items` in the same order; None for a null that
    is no IoU. objects: how many objects count; left_out: how many do not, as text.
    """

    scores: Scores
    head_impact: Scores | None
    chance: Scores | None
    objects: int
    left_out: str = ""


def head_impact_nulls(
    inputs: ScoreInputs, mask_share: float, rings: int, average_over: str
) -> dict[str, Null]:
    """Each null of Head Impact by name; the options are those of `head_impact`.

    random tokens: see `random_iou`. other objects: the mean over `other_masks`. shifted masks: the
    mean over the object's shifted masks that cover a token (inputs.shifted). untrained model:
    the attention of a model with random weights (inputs.untrained), if there is one. attended
    share: the share of the image's tokens that a head attends to, which is no IoU.
    """
    masks = token_masks(inputs.tokens, mask_share, rings)
    shifted = _shifted_masks(inputs, mask_share, rings)
    others, left_out = other_masks(inputs.objects, masks)
    own, random, share, neighbours, moved = {}, {}, {}, {}, {}
    for object_id, attended, mask in covering_objects(inputs, masks):
        own[object_id] = iou(attended, mask)
        random[object_id] = random_iou(attended.sum(-1), mask.sum(), len(mask))
        share[object_id] = attended.mean(-1)
        if object_id in others:
            neighbours[object_id] = mean_iou(attended, others[object_id])
        if shifted[object_id]:
            moved[object_id] = mean_iou(attended, shifted[object_id])

    def scores_of(values: dict[int, np.ndarray], ids: list[int]) -> Scores:
        return average_objects(inputs, ids, [values[x] for x in ids], average_over)

    def null(values: dict[int, np.ndarray], left_out: str = "") -> Null:
        ids = [x for x in own if x in values]
        compared = [scores_of(table, ids) for table in (values, own, random)]
        return Null(*compared, len(ids), left_out)

    nulls = {"random tokens": null(random)}
    if neighbours:
        reasons = "; ".join(f"{count}: {reason}" for reason, count in sorted(left_out.items()))
        nulls["other objects"] = null(neighbours, reasons)
    if moved:
        missing = len(own) - len(moved)
        reason = f"{missing}: no shifted mask covers a token" if missing else ""
        nulls["shifted masks"] = null(moved, reason)
    if inputs.untrained is not None:
        untrained = covering_objects(replace(inputs, attention=inputs.untrained), masks)
        nulls["untrained model"] = null({x: iou(bits, mask) for x, bits, mask in untrained})
    nulls["attended share"] = Null(scores_of(share, list(own)), None, None, len(own))
    return nulls


def _shifted_masks(
    inputs: ScoreInputs, mask_share: float, rings: int
) -> dict[int, list[np.ndarray]]:
    """The shifted masks of each object that cover a token."""
    grids = inputs.tokens.drop(columns="coverage")
    masks = {object_id: [] for object_id in grids["object_id"]}
    for _, copies in inputs.shifted.groupby("shift"):
        for object_id, mask in token_masks(copies.merge(grids), mask_share, rings).items():
            masks[object_id].append(mask)
    return masks


def nulls_table(nulls: dict[str, Null]) -> pd.DataFrame:
    """The nulls as means over all heads, a row each.

    value, head_impact: of the null, and of Head Impact over the same objects. difference: Head
    Impact minus the null, paired by object. above_chance: the difference as a share of Head Impact
    minus random tokens. Errors are clustered by image.
    """
    rows = []
    for name, null in nulls.items():
        items, images = null.scores.items.mean((1, 2)), null.scores.images
        row = {"null": name, "value": items.mean(), "value_error": clustered_error(items, images)}
        if null.head_impact is not None:
            impact, chance = (s.items.mean((1, 2)) for s in (null.head_impact, null.chance))
            difference, excess = impact - items, impact - chance
            share = difference.mean() / excess.mean() if excess.any() else np.nan
            # the error of a ratio of means, by the delta method
            share_error = clustered_error(difference - share * excess, images) / excess.mean()
            row |= {
                "head_impact": impact.mean(),
                "difference": difference.mean(),
                "difference_error": clustered_error(difference, images),
                "above_chance": share,
                "above_chance_error": abs(share_error),
            }
        rows.append(row | {"objects": null.objects, "left_out": null.left_out})
    return pd.DataFrame(rows)

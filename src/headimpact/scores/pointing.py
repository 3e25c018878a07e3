"""Pointing: how often the token that a head looks at most is on the described object."""

import numpy as np

from headimpact.guards import UserError
from headimpact.scores.attention_table import head_values
from headimpact.scores.coverage import token_masks
from headimpact.scores.head_impact import average_objects
from headimpact.scores.inputs import ScoreInputs, Scores


def pointing(inputs: ScoreInputs, mask_share: float, rings: int, average_over: str) -> Scores:
    """Share of objects whose mask holds the token with the head's highest attention.

    The options are those of `head_impact`; objects that cover no token are left out. The null is
    the share of the image's tokens in the mask, which a random token hits with that probability.
    Raises UserError if no object is left.
    Source: the pointing game; Bi et al., SparseMM (ICCV 2025), count hits of boxes in this way.
    """
    masks = token_masks(inputs.tokens, mask_share, rings)
    if not masks:
        raise UserError("no object covers enough of any token; lower mask_share")
    ids, hits, nulls = [], [], []
    for object_id, tops in zip(
        *head_values(inputs.tokens, inputs.attention, "top_token"), strict=True
    ):
        if object_id not in masks:
            continue
        mask = masks[object_id]
        if tops.min() < 0 or tops.max() >= len(mask):
            raise UserError(
                f"top_token of object {object_id} is none of its image's {len(mask)} tokens; "
                f"delete the file and run again"
            )
        ids.append(object_id)
        hits.append(mask[tops].astype(float))
        nulls.append(np.full(tops.shape, mask.mean()))
    return average_objects(inputs, ids, hits, average_over, nulls)

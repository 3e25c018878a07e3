"""Head Impact weighted by the mass on the image: a head counts as far as it looks at the image."""

import numpy as np

from headimpact.scores.attention_table import head_values
from headimpact.scores.head_impact import average_objects, overlaps
from headimpact.scores.inputs import ScoreInputs, Scores


def weighted_head_impact(
    inputs: ScoreInputs, mask_share: float, rings: int, average_over: str
) -> Scores:
    """Mean over objects of IoU x attention mass on the image.

    Head Impact takes its threshold from the head's own mean, so that a head which hardly looks at
    the image can have a high value; the mass on the image lowers it. The options are those of
    `head_impact`, and the null is the mass times the IoU of as many random tokens.
    """
    ids, ious, random_ious = overlaps(inputs, mask_share, rings)
    all_ids, masses = head_values(inputs.tokens, inputs.attention, "image_mass")
    masses = masses[np.isin(all_ids, ids)]
    return average_objects(inputs, ids, ious * masses, average_over, random_ious * masses)

"""Mass on the image: how much of its attention a head gives to the image at all."""

from headimpact.scores.attention_table import head_values
from headimpact.scores.head_impact import average_objects
from headimpact.scores.inputs import ScoreInputs, Scores


def image_mass(inputs: ScoreInputs, average_over: str) -> Scores:
    """Mean over objects of the sum of a head's attention over the image tokens, from 0 to 1.

    average_over: see `average`. Source: the mass by which Kang et al. (CVPR 2025) first select
    their localization heads.
    """
    ids, masses = head_values(inputs.tokens, inputs.attention, "image_mass")
    return average_objects(inputs, ids, masses, average_over)

"""Attended share: how many of the image's tokens a head looks at."""

from headimpact.scores.attention_table import attended_by_object
from headimpact.scores.head_impact import average_objects
from headimpact.scores.inputs import ScoreInputs, Scores


def attended_share(inputs: ScoreInputs, average_over: str) -> Scores:
    """Mean over objects of the share of image tokens above the mean attention; lower is narrower.

    average_over: see `average`.
    """
    objects = list(attended_by_object(inputs.tokens, inputs.attention))
    shares = [attended.mean(-1) for _, attended in objects]
    return average_objects(inputs, [object_id for object_id, _ in objects], shares, average_over)

"""Spatial entropy: over how many separate places of the image a head's attention is spread."""

from headimpact.scores.attention_table import head_values
from headimpact.scores.head_impact import average_objects
from headimpact.scores.inputs import ScoreInputs, Scores


def spatial_entropy(inputs: ScoreInputs, average_over: str) -> Scores:
    """Mean over objects of `components.component_entropy`, in nats; lower is more concentrated.

    average_over: see `average`.
    """
    ids, entropies = head_values(inputs.tokens, inputs.attention, "spatial_entropy")
    return average_objects(inputs, ids, entropies, average_over)

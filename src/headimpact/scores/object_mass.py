"""Mass on the object: how much of its attention a head gives to the described object."""

from headimpact.scores.attention_table import head_values
from headimpact.scores.head_impact import average_objects
from headimpact.scores.inputs import ScoreInputs, Scores


def object_mass(inputs: ScoreInputs, average_over: str) -> Scores:
    """Mean over objects of the sum over image tokens of attention x coverage, from 0 to 1.

    It depends on no threshold, neither of the attention nor of the mask, and all objects count.
    The null is the same with the mass on the image spread evenly over it: image mass x mean
    coverage. average_over: see `average`.
    Source: the mass on an asked region that finds gaze heads, arXiv 2606.14703.
    """
    ids, masses = head_values(inputs.tokens, inputs.attention, "object_mass")
    _, of_image = head_values(inputs.tokens, inputs.attention, "image_mass")
    covered = inputs.tokens.set_index("object_id")["coverage"].map(lambda c: c.mean(dtype=float))
    nulls = of_image * covered.loc[ids].to_numpy()[:, None, None]
    return average_objects(inputs, ids, masses, average_over, nulls)

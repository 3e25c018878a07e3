"""Ablation: what a model loses once a single head reads nothing of the image."""

from dataclasses import replace

import numpy as np

from headimpact.scores.head_impact import average, images_of
from headimpact.scores.inputs import ScoreInputs, Scores
from headimpact.scores.interventions import outcome_values, read_heads, total_passes


def ablation(inputs: ScoreInputs, outcome: str) -> Scores:
    """Mean over items of an outcome without an intervention minus that without the head's reads.

    outcome: see `outcome_values`; positive scores are of heads that help, in nats. Errors are
    clustered by image.
    """
    rows = inputs.interventions.assign(value=outcome_values(inputs.interventions, outcome))
    plain = rows[rows["design"] == "none"].set_index("object_id")["value"]
    rows = rows[rows["design"] == "single"]
    heads = read_heads(rows)
    shape = heads.shape[1:]
    loss = plain.loc[rows["object_id"]].to_numpy() - rows["value"].to_numpy()
    ids, item = np.unique(rows["object_id"], return_inverse=True)
    values = np.full((len(ids), *shape), np.nan)
    # each row has a single head
    row, layer, head = heads.nonzero()
    values[item[row], layer, head] = loss
    scores = average(values, images_of(ids, inputs.objects), "objects")
    return replace(scores, cost=total_passes(inputs.interventions, "single"))

"""Norm of the gradient of fine-tuning's loss on the projections of each attention head."""

import numpy as np

from headimpact.scores.gradients import mean_gradients, square_rows, sum_by_head
from headimpact.scores.inputs import ScoreInputs, Scores


def gradient_norm(inputs: ScoreInputs) -> Scores:
    """||dL/dW_h|| of every head h, in nats per unit of weight.

    L is the loss of fine-tuning, the mean negative log-likelihood of the descriptions' tokens, over
    all key objects of the split impact. W_h are the rows of the q, k and v projections that belong
    to the head; rows that the heads of a group share count for each of them, see `sum_by_head`.

    It is the norm of the mean gradient, not the mean of the items' norms, because fine-tuning
    follows the mean: what cancels between items moves no weight. It has no standard error, since
    it is no mean over items. Raises UserError if the split has no key object.
    """
    mean = mean_gradients(inputs)
    squares = [sum_by_head(square_rows(layer), inputs.family.heads) for layer in mean.gradients]
    return Scores(
        np.array([heads.sqrt().tolist() for heads in squares]), n=mean.items, cost=mean.cost
    )

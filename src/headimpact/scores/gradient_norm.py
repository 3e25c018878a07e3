"""Norm of the gradient of fine-tuning's loss on the projections of each attention head."""

import numpy as np

from headimpact.scores.gradients import Projections, mean_gradients, square_rows, sum_by_head
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
    norms = [
        _norms_of_heads(gradients, inputs.family.heads)
        for gradients in (mean.gradients, *(mean.halves or ()))
    ]
    halves = np.stack(norms[1:]) if mean.halves else None
    return Scores(norms[0], n=mean.items, halves=halves, cost=mean.cost)


def _norms_of_heads(gradients: Projections, heads: int) -> np.ndarray:
    """The norm of the rows of each head, float64 (layers, heads)."""
    squares = [sum_by_head(square_rows(layer), heads) for layer in gradients]
    return np.array([of_heads.sqrt().tolist() for of_heads in squares])

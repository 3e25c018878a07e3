"""Empirical Fisher information of the q, k and v projections, by layer and by attention head."""

import numpy as np

from headimpact.scores.gradients import PASSES_PER_ITEM, loss_gradients, square_rows, sum_by_head
from headimpact.scores.inputs import ScoreInputs, Scores
from headimpact.statistics import clustered_error


def fisher(inputs: ScoreInputs) -> Scores:
    """The trace of the empirical Fisher information of every layer's q, k and v weights.

    It is the sum over the weights of the mean over items of (d log p / dw)^2, in nats^2, where p is
    the probability of an item's description behind its image and prompt. Items are all key objects
    of the split impact. Kirkpatrick et al. (2017) take this diagonal for the importance of weights;
    "Layer-wise LoRA fine-tuning: a similarity metric approach" (2602.05988) has it as a baseline
    for choosing layers.

    `gradient_norm` is the norm of a mean: there, what items disagree about cancels, and here it
    counts. Raises UserError if the split has no key object.
    """
    values, images = [], []
    for sample_id, layers in _squared_gradients(inputs):
        values.append([sum(rows.sum().item() for rows in layer.values()) for layer in layers])
        images.append(sample_id)
    return _mean(values, images)


def head_fisher(inputs: ScoreInputs) -> Scores:
    """The same for the rows of every head.

    Rows of k and v that the heads of a group share count for each of them, so that in grouped-query
    attention a layer's heads add up to more than its `fisher`.
    """
    values, images = [], []
    for sample_id, layers in _squared_gradients(inputs):
        values.append([sum_by_head(layer, inputs.family.heads).tolist() for layer in layers])
        images.append(sample_id)
    return _mean(values, images)


def _squared_gradients(inputs):
    """Yield the sample of each item and, for each layer, {projection: float64 (rows,)}: the squared
    norm of the gradient on each row."""
    for (item,), gradients in loss_gradients(inputs, one_by_one=True):
        yield item.sample_id, [square_rows(layer) for layer in gradients]


def _mean(values, images):
    """Scores of the values of all items, (items, layers) or (items, layers, heads)."""
    values, images = np.array(values), np.array(images)
    return Scores(
        value=values.mean(0),
        standard_error=clustered_error(values, images),
        n=len(values),
        items=values,
        images=images,
        cost=PASSES_PER_ITEM * len(values),
    )

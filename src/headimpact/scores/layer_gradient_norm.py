"""Norm of the gradient of fine-tuning's loss on each layer, relative to the layer's weights."""

import numpy as np
import torch

from headimpact.scores.gradients import (
    Projections,
    mean_gradients,
    projection_weights,
    square_rows,
)
from headimpact.scores.inputs import ScoreInputs, Scores


def layer_gradient_norm(inputs: ScoreInputs, relative: bool) -> Scores:
    """||dL/dW|| / ||W|| of every layer, W being the weights of its q, k and v projections together.

    The relative gradient norm of Auto-RGN in "Surgical Fine-Tuning Improves Adaptation to
    Distribution Shifts" (Lee et al., ICLR 2023), with the gradient of `gradient_norm`.

    relative: False leaves out the division. LoRA changes a weight by s B A, with B = 0 at its
    start, where dL/dA is zero and dL/dB = s (dL/dW) A^T. Since A is drawn at random with equal
    variances, the expected square of ||dL/dB|| is that of ||dL/dW|| times a factor that all layers
    share: without the division, the score ranks layers by what LoRA's first step sees.
    Raises UserError if the split impact has no key object.
    """
    mean = mean_gradients(inputs)
    scale = _norms(projection_weights(inputs.model, inputs.family)) if relative else 1
    halves = np.stack([_norms(half) / scale for half in mean.halves]) if mean.halves else None
    return Scores(_norms(mean.gradients) / scale, n=mean.items, halves=halves, cost=mean.cost)


@torch.no_grad()
def _norms(tensors: Projections) -> np.ndarray:
    """The norm of all tensors of each layer together, float64 (layers,)."""
    squares = [sum(rows.sum().item() for rows in square_rows(layer).values()) for layer in tensors]
    return np.sqrt(squares)

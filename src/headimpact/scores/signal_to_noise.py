"""Spectrum's signal-to-noise ratio of the q, k and v weights: it needs no data."""

import numpy as np
import torch
from tqdm import tqdm

from headimpact.guards import UserError
from headimpact.scores.gradients import projection_weights
from headimpact.scores.inputs import ScoreInputs, Scores

IQR_OF_NORMAL = 1.349  # interquartile range of a normal distribution, in standard deviations


def signal_to_noise(inputs: ScoreInputs) -> Scores:
    """The mean `weight_signal_to_noise` of every layer's q, k and v projections.

    Spectrum ("Targeted Training on Signal to Noise Ratio", Hartford et al., 2024) fine-tunes the
    modules of the highest ratio, and ranks each type of module apart. Here a layer is one choice,
    so the ratios of its three projections are averaged. It is a number of the weights alone, and
    has no standard error. Raises UserError if a matrix has no singular value at the noise's level.
    """
    ratios = []
    for number, layer in enumerate(tqdm(projection_weights(inputs.model, inputs.family))):
        ratios.append([])
        for name, weight in layer.items():
            ratio = weight_signal_to_noise(weight)
            if not np.isfinite(ratio):
                raise UserError(
                    f"layer {number}: {name}: all singular values lie above the noise, so that it "
                    f"has no ratio of signal to noise; remove the score"
                )
            ratios[-1].append(ratio)
    return Scores(np.mean(ratios, 1), cost=0)


@torch.no_grad()
def weight_signal_to_noise(weight: torch.Tensor) -> float:
    """(sum of S > eps) / (sum of S <= eps) / max(S), S being the singular values of a matrix.

    eps = sigma (1 + sqrt(beta)) is the edge of the Marchenko-Pastur distribution, beyond which no
    singular value of a random matrix lies. beta is the shorter side over the longer one, and sigma
    = IQR(S) / 1.349 an estimate of the noise, both as in Spectrum's code.
    weight: (rows, columns). Returns inf if no singular value is at most eps.
    """
    values = torch.linalg.svdvals(weight.double())
    lower, upper = values.quantile(values.new_tensor([0.25, 0.75]))
    beta = min(weight.shape) / max(weight.shape)
    is_signal = values > (upper - lower) / IQR_OF_NORMAL * (1 + beta**0.5)
    return (values[is_signal].sum() / values[~is_signal].sum() / values.max()).item()

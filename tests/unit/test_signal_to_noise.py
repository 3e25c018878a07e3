"""Spectrum's signal-to-noise ratio, against a calculation by hand."""

import numpy as np
import pytest
import torch
from score_inputs import score_inputs

from headimpact.guards import UserError
from headimpact.miniature.checkpoints import MAKERS
from headimpact.scores.signal_to_noise import signal_to_noise, weight_signal_to_noise


def matrix(singular_values, rows, columns):
    """A matrix with those singular values, in random directions."""
    rng = np.random.default_rng(0)
    left = np.linalg.qr(rng.normal(size=(rows, len(singular_values))))[0]
    right = np.linalg.qr(rng.normal(size=(columns, len(singular_values))))[0]
    return torch.from_numpy((left * singular_values) @ right.T)


@pytest.mark.parametrize("shape", [(5, 8), (8, 5)])
def test_the_ratio_of_a_matrix_with_known_singular_values(shape):
    # the quartiles are 3 and 5, so sigma = 2 / 1.349 = 1.4826; the edge is 1.4826 (1 + sqrt(5 / 8))
    # = 2.6547, above which lie 3, 4, 5 and 9: 21 of signal over 1 of noise, over 9
    weight = matrix([9, 5, 4, 3, 1], *shape)
    assert weight_signal_to_noise(weight) == pytest.approx(21 / 1 / 9)
    # of a square matrix the edge is 2.9652, still below 3; with 2.9 in place of 3 it is above
    assert weight_signal_to_noise(matrix([9, 5, 4, 3, 1], 5, 5)) == pytest.approx(21 / 9)
    assert weight_signal_to_noise(matrix([9, 5, 4, 2.9, 1], 5, 5)) == pytest.approx(18 / 3.9 / 9)


def test_a_layers_score_is_the_mean_over_q_k_and_v(model_and_family, photo):
    model, family = model_and_family
    scores = signal_to_noise(score_inputs(model_and_family, photo))
    assert scores.value.shape == (16,) and scores.cost == 0
    for layer, value in zip(model.get_submodule(family.decoder).layers, scores.value, strict=True):
        ratios = []
        for name in ("q_proj", "k_proj", "v_proj"):
            weight = getattr(layer.self_attn, name).weight.detach().double().numpy()
            values = np.linalg.svd(weight, compute_uv=False)
            sigma = np.subtract(*np.percentile(values, [75, 25])) / 1.349
            edge = sigma * (1 + np.sqrt(min(weight.shape) / max(weight.shape)))
            signal, noise = values[values > edge].sum(), values[values <= edge].sum()
            ratios.append(signal / noise / values.max())
        assert value == pytest.approx(np.mean(ratios))


def test_a_matrix_without_noise_names_its_layer_and_projection(photo):
    model, family = MAKERS["qwen2_vl"]()
    weight = model.get_submodule(family.decoder).layers[3].self_attn.k_proj.weight
    torch.nn.init.orthogonal_(weight)
    with pytest.raises(UserError, match=r"layer 3: k_proj: all singular values lie above"):
        signal_to_noise(score_inputs((model, family), photo))

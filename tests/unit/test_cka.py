"""CKA of the states before and behind a layer, against plain forward passes."""

from copy import deepcopy

import numpy as np
import pytest
import torch
from plain_pass import plain_pass
from score_inputs import OBJECTS, conversations, score_inputs

from headimpact.guards import UserError
from headimpact.scores.cka import cka, linear_cka


def cka_by_hand(x, y):
    """In feature space, (features, features)."""
    x, y = x - x.mean(0), y - y.mean(0)
    norms = [np.linalg.norm(product) for product in (x.T @ y, x.T @ x, y.T @ y)]
    return norms[0] ** 2 / (norms[1] * norms[2])


def test_each_layer_has_the_cka_of_the_last_tokens_states(model_and_family, photo):
    inputs = score_inputs(model_and_family, photo)
    model, family = model_and_family
    states, last = [], []
    hook = (
        model.get_submodule(family.decoder)
        .layers[-1]
        .register_forward_hook(lambda _layer, _arguments, output: last.append(output))
    )
    for _, object_id, image, sequence in conversations(inputs):
        if object_id in (0, 2, 4):  # the first object of each image
            with torch.no_grad():
                outputs = plain_pass(model, family, image, sequence, output_hidden_states=True)
            output = last.pop()
            output = output[0] if isinstance(output, tuple) else output
            # the model's last hidden state has passed its final norm
            layers = [*outputs.hidden_states[:-1], output]
            states.append(torch.stack(layers)[:, 0, -1].double().numpy())
    hook.remove()
    states = np.stack(states, 1)
    expected = [1 - cka_by_hand(states[i], states[i + 1]) for i in range(16)]
    scores = cka(inputs, images=128)
    np.testing.assert_allclose(scores.value, expected, atol=1e-5)
    assert scores.n == scores.cost == 3 and max(expected) > 1e-3


def test_a_layer_that_changes_nothing_scores_zero(model_and_family, photo):
    model, family = deepcopy(model_and_family[0]), model_and_family[1]
    layer = model.get_submodule(family.decoder).layers[3]
    with torch.no_grad():
        layer.self_attn.o_proj.weight.zero_()
        layer.mlp.down_proj.weight.zero_()
    values = cka(score_inputs((model, family), photo), images=128).value
    assert abs(values[3]) < 1e-12 and values[2] > 1e-6 and values[4] > 1e-6


def test_cka_is_one_for_a_rotation_and_zero_where_nothing_varies():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(9, 4))
    rotated = 3 * x @ np.linalg.qr(rng.normal(size=(4, 4)))[0] + 5
    assert linear_cka(x, rotated) == pytest.approx(1)
    y = rng.normal(size=(9, 6))
    assert linear_cka(x, y) == pytest.approx(cka_by_hand(x, y)) and linear_cka(x, y) < 0.9
    assert linear_cka(np.full((9, 4), 0.1), y) == linear_cka(y, np.full((9, 4), 0.1)) == 0


@pytest.mark.parametrize("model_and_family", ["qwen2_vl"], indirect=True)
def test_only_so_many_images_are_taken(model_and_family, photo):
    inputs = score_inputs(model_and_family, photo)
    passes = []
    layer = inputs.model.get_submodule(inputs.family.decoder).layers[0]
    hook = layer.register_forward_hook(lambda *_arguments: passes.append(1))
    inputs.samples = inputs.samples.iloc[[0, 1, 2, 2]].assign(sample_id=[7, 3, 5, 99])
    inputs.samples.index = range(4)
    assert cka(inputs, images=3).cost == len(passes) == 3
    assert cka(inputs, images=128).n == 4
    hook.remove()


@pytest.mark.parametrize("model_and_family", ["qwen2_vl"], indirect=True)
@pytest.mark.parametrize("images", [0, 2])
def test_fewer_than_three_images_with_an_object_are_one_clear_line(model_and_family, photo, images):
    objects = OBJECTS[OBJECTS["sample_id"].isin([7, 3][:images])]
    inputs = score_inputs(model_and_family, photo, objects)
    with pytest.raises(UserError, match=f"^{images} images of the split impact have a key object"):
        cka(inputs, images=128)

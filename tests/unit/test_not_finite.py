"""Values that are not finite end a training, with the sample and the layer named."""

from dataclasses import replace

import pytest
import torch
from small_training import make_study, random_model, train

from headimpact.guards import NotFiniteError


@pytest.fixture(scope="module")
def items(tmp_path_factory):
    return make_study(tmp_path_factory.mktemp("scenes"))[3]


def output_projection(model, family, layer):
    return model.get_submodule(family.decoder).layers[layer].self_attn.o_proj


@pytest.mark.parametrize(
    ("layer", "layers"), [(7, (2, 9)), (10, (2, 9)), (3, (6, 9))], ids=["above", "top", "frozen"]
)
def test_a_loss_that_is_not_finite_names_sample_and_layer(items, tmp_path, layer, layers):
    model, family = random_model()
    output_projection(model, family, layer).weight.data[0, 0] = float("inf")
    with pytest.raises(NotFiniteError, match=rf"sample 1\d\d: .*in layer {layer}$"):
        train(items, tmp_path, layers, model=(model, family))


def test_features_that_are_not_finite_name_their_sample(items, tmp_path):
    items = list(items)
    items[4] = replace(items[4], features=items[4].features * float("nan"))
    with pytest.raises(NotFiniteError, match=r"sample 104: .*before layer 0"):
        train(items, tmp_path, (0, 1))


def test_a_gradient_that_is_not_finite_names_its_batch_and_layer(items, tmp_path, monkeypatch):
    def spoil_last_gradient(weights, _norm):
        last = list(weights)[-1]
        last.grad[0, 0] = float("nan")
        return last.grad.norm()

    monkeypatch.setattr(torch.nn.utils, "clip_grad_norm_", spoil_last_gradient)
    with pytest.raises(NotFiniteError, match=r"samples 1\d\d, .*the gradient in layer 9 is"):
        train(items, tmp_path)


def test_finite_gradients_whose_norm_overflows_name_a_layer(items, tmp_path):
    model, family = random_model()
    output_projection(model, family, 9).register_full_backward_hook(
        lambda _module, gradients, _output: (gradients[0] * 1e25,)
    )
    with pytest.raises(NotFiniteError, match=r"the gradient in layer 9 is not finite"):
        train(items, tmp_path, (9,), model=(model, family))


def test_a_loss_without_a_perplexity_names_the_learning_rate(items, tmp_path):
    model, family = random_model()
    # the loss of a token grows with the scale of the logits; exp(710) overflows
    model.lm_head.register_forward_hook(lambda _module, _inputs, logits: logits * 1e4)
    with pytest.raises(NotFiniteError, match=r"training\.learning_rate"):
        train(items, tmp_path, model=(model, family))

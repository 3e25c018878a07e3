"""Scores from gradients, against autograd on a plain forward pass of one description at a time."""

import re
from dataclasses import replace

import numpy as np
import pytest
import torch
from plain_pass import plain_pass, target_log_probabilities
from score_inputs import OBJECTS, conversations, score_inputs

from headimpact.guards import NotFiniteError, UserError
from headimpact.miniature.checkpoints import MAKERS
from headimpact.scores.fisher import fisher, head_fisher
from headimpact.scores.gradient_norm import gradient_norm
from headimpact.scores.gradients import sum_by_head
from headimpact.scores.layer_gradient_norm import layer_gradient_norm
from headimpact.statistics import in_second_half
from headimpact.training.batches import Collator
from headimpact.training.lora import add_adapter

LAYERS, HEADS, SIZE = 16, 4, 24  # of the random models; two heads share the rows of k and v
NAMES = ("q_proj", "k_proj", "v_proj")


# what a model's class does not change is tested with one
one_class = pytest.mark.parametrize("model_and_family", ["qwen2_vl"], indirect=True)


@pytest.fixture
def inputs(model_and_family, photo):
    return score_inputs(model_and_family, photo)


def weights_of(inputs):
    layers = inputs.model.get_submodule(inputs.family.decoder).layers
    return [[getattr(layer.self_attn, name).weight for name in NAMES] for layer in layers]


def gradients_by_hand(inputs):
    """For each object its sample, number of tokens and gradients of the summed loss, one each
    of q, k, v of each layer."""
    weights = weights_of(inputs)
    flat = [weight for layer in weights for weight in layer]
    for sample_id, _object_id, image, sequence in conversations(inputs):
        outputs = plain_pass(inputs.model, inputs.family, image, sequence)
        loss = -target_log_probabilities(outputs, sequence).sum()
        gradients = [g.double().numpy() for g in torch.autograd.grad(loss, flat)]
        tokens = len(sequence.ids) - sequence.start
        yield sample_id, tokens, [gradients[3 * n : 3 * n + 3] for n in range(len(weights))]


def square_by_head(layer):
    """The squared norm of each head's rows of q, k, v, by slices."""
    q, k, v = layer
    squares = []
    for head in range(HEADS):
        own, shared = slice(head * SIZE, head * SIZE + SIZE), head // 2 * SIZE
        shared = slice(shared, shared + SIZE)
        squares.append((q[own] ** 2).sum() + (k[shared] ** 2).sum() + (v[shared] ** 2).sum())
    return squares


def mean_by_hand(inputs):
    """The gradient of the mean loss of all tokens, of q, k, v of each layer."""
    items = list(gradients_by_hand(inputs))
    tokens = sum(count for _, count, _ in items)
    return [
        [sum(item[2][layer][name] for item in items) / tokens for name in range(3)]
        for layer in range(LAYERS)
    ]


def test_gradient_norms_are_those_of_the_mean_loss_of_all_tokens(inputs):
    mean = mean_by_hand(inputs)
    scores = gradient_norm(inputs)
    expected = np.sqrt([square_by_head(layer) for layer in mean])
    assert scores.value.shape == (LAYERS, HEADS) and scores.n == 6
    np.testing.assert_allclose(scores.value, expected, rtol=1e-3)
    norms = np.sqrt([sum((g**2).sum() for g in layer) for layer in mean])
    np.testing.assert_allclose(layer_gradient_norm(inputs, relative=False).value, norms, rtol=1e-3)
    sizes = [sum(w.double().square().sum().item() for w in layer) for layer in weights_of(inputs)]
    relative = layer_gradient_norm(inputs, relative=True).value
    np.testing.assert_allclose(relative, norms / np.sqrt(sizes), rtol=1e-3)


def test_each_half_of_the_images_has_the_score_of_its_own(inputs):
    second = in_second_half(inputs.samples["sample_id"])
    for score, options in ((gradient_norm, {}), (layer_gradient_norm, {"relative": True})):
        halves = score(inputs, **options).halves
        for half, value in zip((~second, second), halves, strict=True):
            alone = score(replace(inputs, samples=inputs.samples[half]), **options)
            np.testing.assert_allclose(value, alone.value, rtol=1e-4)


def test_fisher_is_the_mean_of_each_objects_squared_gradients(inputs):
    items = list(gradients_by_hand(inputs))
    by_layer = [[sum((g**2).sum() for g in layer) for layer in item[2]] for item in items]
    by_head = [[square_by_head(layer) for layer in item[2]] for item in items]
    for scores, values in ((fisher(inputs), by_layer), (head_fisher(inputs), by_head)):
        np.testing.assert_allclose(scores.value, np.mean(values, 0), rtol=1e-3)
        # the score goes through the samples, the calculation by hand through the objects
        order = [scores.images.tolist().index(item[0]) for item in items]
        np.testing.assert_allclose(scores.items[order[0]], values[0], rtol=1e-3)
        assert sorted(scores.images) == sorted(item[0] for item in items)
        assert scores.n == 6 and (scores.standard_error > 0).all()


def test_rows_of_q_add_up_to_the_layer_and_shared_rows_count_for_each_head():
    rows = {"q_proj": torch.arange(8.0), "k_proj": torch.zeros(4), "v_proj": torch.zeros(4)}
    assert sum_by_head(rows, heads=4).tolist() == [1, 5, 9, 13]
    assert sum_by_head(rows, heads=4).sum() == rows["q_proj"].sum()
    rows["k_proj"], rows["v_proj"] = torch.tensor([10.0, 10, 0, 0]), torch.tensor([0, 0, 0, 300.0])
    assert sum_by_head(rows, heads=4).tolist() == [21, 25, 309, 313]


def test_without_the_weights_it_ranks_layers_by_the_gradient_of_loras_b(photo):
    torch.manual_seed(0)
    model, family = MAKERS["qwen2_vl"]()
    inputs = score_inputs((model.eval(), family), photo)
    norms = layer_gradient_norm(inputs, relative=False).value
    layers = list(range(LAYERS))
    adapted = add_adapter(
        model, family, layers, rank=384, alpha=384, dropout=0, targets=list(NAMES)
    )
    for _, _, image, sequence in conversations(inputs):
        outputs = plain_pass(model, family, image, sequence)
        target_log_probabilities(outputs, sequence).sum().backward()
    squares, of_a = np.zeros(LAYERS), 0
    for name, weight in adapted.named_parameters():
        if "lora_B" in name:
            layer = int(re.search(r"layers\.(\d+)\.", name)[1])
            squares[layer] += weight.grad.square().sum()
        elif "lora_A" in name:
            of_a += weight.grad.abs().sum()
    ratios = np.sqrt(squares) / norms
    # under 384 random rows a norm errs by 3.6 % if its matrix has rank 1, and by less otherwise
    assert of_a == 0 and ratios.max() / ratios.min() < 1.2
    assert norms.max() / norms.min() > 2  # so that the ratios are no trivial result


@one_class
@pytest.mark.parametrize("score", [gradient_norm, fisher, head_fisher])
def test_the_model_is_left_as_it_was(inputs, score):
    frozen = next(inputs.model.parameters())
    frozen.requires_grad = False
    try:
        before = [weight.requires_grad for weight in inputs.model.parameters()]
        score(inputs)
        assert [weight.requires_grad for weight in inputs.model.parameters()] == before
        assert all(weight.grad is None for weight in inputs.model.parameters())
    finally:
        frozen.requires_grad = True


@one_class
@pytest.mark.parametrize("score", [gradient_norm, fisher])
def test_the_cost_is_three_passes_for_each_description_that_runs(inputs, score):
    ran = []
    layer = inputs.model.get_submodule(inputs.family.decoder).layers[0]
    hook = layer.register_forward_hook(lambda _layer, arguments, _: ran.append(len(arguments[0])))
    cost = score(inputs).cost
    hook.remove()
    assert cost == 3 * sum(ran) == 18


@one_class
def test_a_gpu_that_runs_out_of_memory_halves_batches_and_gives_the_same(inputs, monkeypatch):
    expected = gradient_norm(inputs).value
    collate, sizes = Collator.__call__, []

    def run_out_of_memory(self, items):
        sizes.append(len(items))
        if len(items) > 1:
            raise torch.OutOfMemoryError("CUDA out of memory")
        return collate(self, items)

    monkeypatch.setattr(Collator, "__call__", run_out_of_memory)
    monkeypatch.setattr(torch.cuda, "empty_cache", lambda: None)
    np.testing.assert_allclose(gradient_norm(inputs).value, expected, rtol=1e-4)
    assert max(sizes) == 2


@one_class
@pytest.mark.parametrize("score", [gradient_norm, fisher])
def test_a_split_without_key_objects_is_one_clear_line(model_and_family, photo, score):
    inputs = score_inputs(model_and_family, photo, OBJECTS[OBJECTS["sample_id"] == 99])
    with pytest.raises(UserError, match=r"no image of the split impact has a key object; raise"):
        score(inputs)


@one_class
def test_a_gradient_that_is_not_finite_names_its_sample_and_layer(inputs):
    weight = weights_of(inputs)[6][1]
    weight.requires_grad = True
    hook = weight.register_hook(lambda gradient: gradient * float("inf"))
    try:
        with pytest.raises(NotFiniteError, match=r"sample 7: the gradient in layer 6 is not"):
            gradient_norm(inputs)
    finally:
        hook.remove()

"""Interventions on image reads against separate full passes with plain hooks."""

from copy import deepcopy
from dataclasses import replace

import pytest
import torch
from plain_pass import intervened_pass, plain_inputs
from torch.utils._python_dispatch import TorchDispatchMode

from headimpact.miniature.checkpoints import MAKERS
from headimpact.models import prompts
from headimpact.models.continuations import score_continuations
from headimpact.models.family import EncodedImage
from headimpact.models.interventions import (
    Intervention,
    branch_tokens,
    branched_length,
    predict_under_interventions,
)

OPTIONS = ["a dog", "a cat", "a large pink moon", "no one"]
VARIANTS = ("renormalise", "zero", "mean")


def conversation(family, grid, text):
    if text == "question":
        return prompts.choices(family, grid, OPTIONS)[2]
    return prompts.description(family, grid, "a blue zebra that smokes")


@pytest.fixture(params=["description", "question"])
def case(request, model_and_family, photo):
    """Model, family, EncodedImage, sequence and the inputs of the model's own forward."""
    model, family = model_and_family
    image, grid = photo(108, 72), family.grid(108, 72)
    (features,) = family.features(model, family.pixels([image]))
    sequence = conversation(family, grid, request.param)
    encoded = EncodedImage(features, grid)
    return model, family, encoded, sequence, plain_inputs(family, image, sequence)


def random_interventions(family, image, sequence, count, seed=0):
    """Interventions on random heads: on all reads, on some rows, on some columns, on some of both.

    Heads are drawn one by one, so that those of a group differ.
    """
    generator = torch.Generator().manual_seed(seed)

    def choose(*size):
        return torch.rand(size, generator=generator) < 0.5

    tokens = len(branch_tokens(family, sequence))
    return [
        Intervention(
            choose(family.layers, family.heads),
            rows=choose(tokens) if number % 2 else None,
            columns=choose(image.grid.tokens) if number // 2 % 2 else None,
        )
        for number in range(count)
    ]


def predict(model, family, image, sequence, interventions, *options, **more):
    return list(
        predict_under_interventions(model, family, image, sequence, interventions, *options, **more)
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_branches_equal_separate_passes_with_hooks(case, variant):
    model, family, image, sequence, inputs = case
    interventions = random_interventions(family, image, sequence, 4)
    predictions = predict(model, family, image, sequence, interventions, variant)
    plain = predict(model, family, image, sequence, [no_intervention(family)])[0]
    for intervention, logs in zip(interventions, predictions, strict=True):
        expected = intervened_pass(model, family, sequence, inputs, intervention, variant)
        assert (logs - plain).abs().max() > 1e-3, "the intervention must change something"
        torch.testing.assert_close(logs, expected, atol=1e-5, rtol=0)


def no_intervention(family):
    return Intervention(torch.zeros(family.layers, family.heads, dtype=torch.bool))


@pytest.mark.parametrize("variant", VARIANTS)
def test_no_intervention_equals_the_scores_of_continuations(case, variant):
    model, family, image, sequence, _ = case
    (score,) = score_continuations(model, family, [(image, sequence)])
    every = torch.ones(family.layers, family.heads, dtype=torch.bool)
    nothing = torch.zeros(image.grid.tokens, dtype=torch.bool)
    interventions = [no_intervention(family), Intervention(every, columns=nothing)]
    target = torch.tensor(sequence.ids[sequence.start :])[:, None]
    for logs in predict(model, family, image, sequence, interventions, variant):
        logs = logs.gather(-1, target)[:, 0]
        torch.testing.assert_close(logs, score.log_probabilities, atol=1e-5, rtol=0)


def test_the_text_knows_nothing_of_an_image_of_one_tile_once_all_heads_have_lost_it(case):
    """Text between tiles is part of the prefix, and still reads the tiles before it."""
    model, family, image, sequence, _ = case
    if len(image.grid.tiles) > 1:
        pytest.skip("the image has several tiles")
    every = [Intervention(torch.ones(family.layers, family.heads, dtype=torch.bool))]
    other = replace(image, features=image.features.flip(0))
    (logs,) = predict(model, family, image, sequence, every)
    (expected,) = predict(model, family, other, sequence, every)
    torch.testing.assert_close(logs, expected, atol=1e-5, rtol=0)


def test_pieces_give_the_same_as_one_pass(case):
    model, family, image, sequence, _ = case
    interventions = random_interventions(family, image, sequence, 5)
    decoder, passes = model.get_submodule(family.decoder), []
    hook = decoder.register_forward_hook(lambda *_: passes.append(1))
    in_pieces = predict(model, family, image, sequence, interventions, pieces=2)
    assert len(passes) == 3
    at_once = predict(model, family, image, sequence, interventions)
    assert len(passes) == 4
    hook.remove()
    torch.testing.assert_close(torch.stack(in_pieces), torch.stack(at_once), atol=1e-5, rtol=0)


@pytest.fixture(params=["paligemma2", "qwen2_vl"])
def windowed(request, photo):
    """A model whose first, third, ... layers see 50 tokens back, and the rest as in `case`."""
    torch.manual_seed(0)
    model, family = MAKERS[request.param]()
    text = model.config.get_text_config()
    types = ["sliding_attention", "full_attention"] * (text.num_hidden_layers // 2)
    text.use_sliding_window, text.sliding_window, text.layer_types = True, 50, types
    model = type(model)(model.config).eval()
    image, grid = photo(108, 72), family.grid(108, 72)
    (features,) = family.features(model, family.pixels([image]))
    sequence = conversation(family, grid, "description")
    return (
        model,
        family,
        EncodedImage(features, grid),
        sequence,
        plain_inputs(family, image, sequence),
    )


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_sliding_window_equals_separate_passes_with_hooks(windowed, variant):
    model, family, image, sequence, inputs = windowed
    layers = model.get_submodule(family.decoder).layers
    assert [layer.self_attn.sliding_window for layer in layers[:2]] == [50, None]
    interventions = random_interventions(family, image, sequence, 4)
    predictions = predict(model, family, image, sequence, interventions, variant)
    for intervention, logs in zip(interventions, predictions, strict=True):
        expected = intervened_pass(model, family, sequence, inputs, intervention, variant)
        torch.testing.assert_close(logs, expected, atol=1e-5, rtol=0)
    for layer in layers:
        layer.self_attn.sliding_window = None
    wide = predict(model, family, image, sequence, interventions, variant)
    assert (wide[0] - predictions[0]).abs().max() > 1e-3, "the window must hide something"


@pytest.mark.parametrize("implementation", ["eager", "sdpa"])
def test_the_prefix_may_use_either_implementation(case, implementation):
    model, family, image, sequence, inputs = case
    model = deepcopy(model)
    decoder = model.get_submodule(family.decoder)
    decoder.config._attn_implementation = implementation
    for layer in decoder.layers:
        # SDPA has no softcap; PaliGemma's first version has none either
        layer.self_attn.attn_logit_softcapping = None
    interventions = random_interventions(family, image, sequence, 1)
    (logs,) = predict(model, family, image, sequence, interventions)
    expected = intervened_pass(model, family, sequence, inputs, interventions[0], "renormalise")
    torch.testing.assert_close(logs, expected, atol=1e-5, rtol=0)


class LargestTensor(TorchDispatchMode):
    """Records the largest number of elements of any tensor that torch computes."""

    largest = 0

    def __torch_dispatch__(self, function, types, arguments=(), keywords=None):
        result = function(*arguments, **(keywords or {}))
        if isinstance(result, torch.Tensor):
            self.largest = max(self.largest, result.numel())
        return result


def test_memory_grows_linearly_with_the_branches(case):
    model, family, image, sequence, _ = case
    sizes = []
    for count in (16, 32, 64):
        interventions = random_interventions(family, image, sequence, count)
        with LargestTensor() as record:
            predict(model, family, image, sequence, interventions)
        assert record.largest < branched_length(family, sequence, count) ** 2
        sizes.append(record.largest)
    assert sizes == [sizes[0], 2 * sizes[0], 4 * sizes[0]]


def test_a_value_that_is_not_finite_is_named(case):
    model, family, image, sequence, _ = case
    image = replace(image, features=image.features * float("nan"), name="sample 7")
    with pytest.raises(FloatingPointError, match="sample 7: a log-probability is not finite"):
        predict(model, family, image, sequence, [no_intervention(family)])


def test_rows_of_another_length_are_refused(case):
    model, family, image, sequence, _ = case
    heads = torch.ones(family.layers, family.heads, dtype=torch.bool)
    intervention = Intervention(heads, rows=torch.ones(len(sequence.ids), dtype=torch.bool))
    with pytest.raises(ValueError, match="rows for a branch of"):
        predict(model, family, image, sequence, [intervention])

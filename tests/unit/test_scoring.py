"""One pass for all that is asked of an image, against the model's own whole forward passes."""

import pytest
import torch
from plain_pass import plain

from headimpact.models import prompts
from headimpact.models.continuations import score

DESCRIPTIONS = ("a small red circle", "a blue zebra that smokes", "a cat")


@pytest.mark.parametrize("size", [(108, 72), (72, 108), (200, 145)])
def test_equals_the_plain_pass(made, photo, size):
    model, family = made
    image, grid = photo(*size), family.grid(*size)
    (features,) = family.features(model, family.pixels([image]))
    sequences = [prompts.description(family, grid, text) for text in DESCRIPTIONS]
    for sequence, one in zip(
        sequences, score(model, family, features, grid, sequences, attention=True), strict=True
    ):
        logs, attention = plain(model, family, image, sequence)
        assert one.attention.shape == (family.layers, family.heads, grid.tokens)
        torch.testing.assert_close(one.log_probabilities, logs, atol=1e-5, rtol=0)
        torch.testing.assert_close(one.attention, attention, atol=1e-7, rtol=0)


def test_labels_equal_the_plain_pass(made, photo):
    model, family = made
    image, grid = photo(108, 72), family.grid(108, 72)
    (features,) = family.features(model, family.pixels([image]))
    choices = prompts.choices(family, grid, ["a dog", "a cat", "a large pink moon", "no one"])
    assert len({choice.ids[-1] for choice in choices}) == 4
    for choice, one in zip(choices, score(model, family, features, grid, choices), strict=True):
        logs, _ = plain(model, family, image, choice)
        torch.testing.assert_close(one.log_probabilities, logs, atol=1e-5, rtol=0)


def test_attention_is_not_renormalised(made, photo):
    model, family = made
    grid = family.grid(72, 72)
    (features,) = family.features(model, family.pixels([photo(72, 72)]))
    (one,) = score(
        model, family, features, grid, [prompts.description(family, grid, "a cat")], attention=True
    )
    assert (one.attention.sum(-1) < 0.999).all()


@pytest.mark.parametrize("one_pass", [True, False])
def test_a_description_and_a_question_together_equal_the_plain_passes(made, photo, one_pass):
    model, family = made
    image, grid = photo(108, 72), family.grid(108, 72)
    (features,) = family.features(model, family.pixels([image]))
    asked = [
        *(prompts.description(family, grid, text) for text in DESCRIPTIONS),
        *prompts.choices(family, grid, ["a dog", "a cat", "a large pink moon", "no one"]),
    ]
    passes = []
    decoder = model.get_submodule(family.decoder)
    hook = decoder.register_forward_hook(lambda *_: passes.append(1))
    found = score(model, family, features, grid, asked, one_pass=one_pass)
    hook.remove()
    together = 2 if family.prompt_sees_both_ways else 1
    assert len(passes) == (together if one_pass else len(asked))
    for sequence, one in zip(asked, found, strict=True):
        logs, _ = plain(model, family, image, sequence)
        assert one.attention is None
        torch.testing.assert_close(one.log_probabilities, logs, atol=1e-5, rtol=0)


def test_a_sliding_window_holds_in_branches(made, photo):
    """Of layers that see but so far back, a branch's tokens see as far as in a pass of its own."""
    model, family = made
    text = model.get_submodule(family.decoder)
    layers = [layer.self_attn for layer in text.layers]
    if getattr(layers[0], "sliding_window", None) is None:
        pytest.skip("the family's decoder has no sliding window")
    image, grid = photo(108, 72), family.grid(108, 72)
    (features,) = family.features(model, family.pixels([image]))
    sequences = [prompts.description(family, grid, text) for text in DESCRIPTIONS]
    before = text.config.sliding_window, [layer.sliding_window for layer in layers]
    text.config.sliding_window = 50
    for layer in layers:
        layer.sliding_window = 50 if layer.sliding_window else None
    try:
        found = score(model, family, features, grid, sequences, attention=True)
        wanted = [plain(model, family, image, sequence) for sequence in sequences]
    finally:
        text.config.sliding_window = before[0]
        for layer, window in zip(layers, before[1], strict=True):
            layer.sliding_window = window
    assert (wanted[0][1][0] == 0).any(), "the window must hide visual tokens from a description"
    for one, (logs, attention) in zip(found, wanted, strict=True):
        torch.testing.assert_close(one.log_probabilities, logs, atol=1e-5, rtol=0)
        torch.testing.assert_close(one.attention, attention, atol=1e-7, rtol=0)


def test_what_is_not_finite_is_named(made, photo):
    model, family = made
    grid = family.grid(72, 72)
    (features,) = family.features(model, family.pixels([photo(72, 72)]))
    sequences = [prompts.description(family, grid, "a cat")]
    lost = features * float("nan")
    with pytest.raises(FloatingPointError, match="attention in layer 0 is not finite"):
        score(model, family, lost, grid, sequences, attention=True)
    with pytest.raises(FloatingPointError, match="a log-probability is not finite"):
        score(model, family, lost, grid, sequences)

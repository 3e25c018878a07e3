"""Prefix once and continuations on its cache, against the model's own whole forward pass."""

import pytest
import torch
from plain_pass import plain

from headimpact.scoring import score

DESCRIPTIONS = ("a small red circle", "a blue zebra that smokes", "a cat")


@pytest.mark.parametrize("size", [(108, 72), (72, 108), (200, 145)])
def test_equals_the_plain_pass(made, photo, size):
    model, family = made
    image, grid = photo(*size), family.grid(*size)
    (features,) = family.features(model, [image])
    sequences = [family.description(grid, text) for text in DESCRIPTIONS]
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
    (features,) = family.features(model, [image])
    choices = family.choices(grid, ["a dog", "a cat", "a large pink moon", "no one"])
    assert len({choice.ids[-1] for choice in choices}) == 4
    for choice, one in zip(choices, score(model, family, features, grid, choices), strict=True):
        logs, _ = plain(model, family, image, choice)
        torch.testing.assert_close(one.log_probabilities, logs, atol=1e-5, rtol=0)


def test_attention_is_not_renormalised(made, photo):
    model, family = made
    grid = family.grid(72, 72)
    (features,) = family.features(model, [photo(72, 72)])
    (one,) = score(
        model, family, features, grid, [family.description(grid, "a cat")], attention=True
    )
    assert (one.attention.sum(-1) < 0.999).all()


def test_other_prompts_are_refused(made, photo):
    model, family = made
    grid = family.grid(72, 72)
    (features,) = family.features(model, [photo(72, 72)])
    mixed = [family.description(grid, "a cat"), family.choices(grid, list("wxyz"))[0]]
    with pytest.raises(ValueError, match="share the prompt"):
        score(model, family, features, grid, mixed)


def test_what_is_not_finite_is_named(made, photo):
    model, family = made
    grid = family.grid(72, 72)
    (features,) = family.features(model, [photo(72, 72)])
    sequences = [family.description(grid, "a cat")]
    with pytest.raises(FloatingPointError, match=r"not finite"):
        score(model, family, features * float("nan"), grid, sequences, attention=True)

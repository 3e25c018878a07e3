"""Continuations in one pass with a shared prefix, against the model's own full forward passes."""

from dataclasses import replace

import pytest
import torch
from plain_pass import full_pass
from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

from headimpact.models import prompts
from headimpact.models.continuations import score_continuations
from headimpact.models.family import EncodedImage
from headimpact.models.layout import Segment, lay_out
from headimpact.models.prefix_attention import PrefixLayout, use_prefix_attention

DESCRIPTIONS = ("a small red circle", "a blue zebra that smokes", "a cat")
OPTIONS = ["a dog", "a cat", "a large pink moon", "no one"]


def encode(model, family, image):
    (features,) = family.features(model, family.pixels([image]))
    return EncodedImage(features, family.grid(*image.size))


def score_sequences(model, family, image, sequences, **options):
    """Scores of sequences about one image, an EncodedImage."""
    conversations = [(image, sequence) for sequence in sequences]
    return score_continuations(model, family, conversations, **options)


@pytest.mark.parametrize("size", [(108, 72), (72, 108), (200, 145)])
def test_descriptions_equal_full_eager_passes(model_and_family, photo, size):
    model, family = model_and_family
    image, grid = photo(*size), family.grid(*size)
    encoded = encode(model, family, image)
    sequences = [prompts.description(family, grid, text) for text in DESCRIPTIONS]
    scores = score_sequences(model, family, encoded, sequences, attention=True)
    for sequence, score in zip(sequences, scores, strict=True):
        logs, attention = full_pass(model, family, image, sequence)
        assert score.attention.shape == (family.layers, family.heads, grid.tokens)
        torch.testing.assert_close(score.log_probabilities, logs, atol=1e-5, rtol=0)
        torch.testing.assert_close(score.attention, attention, atol=1e-7, rtol=0)


def test_labels_equal_full_eager_passes(model_and_family, photo):
    model, family = model_and_family
    image, grid = photo(108, 72), family.grid(108, 72)
    encoded = encode(model, family, image)
    choices = prompts.choices(family, grid, OPTIONS)
    assert len({choice.ids[-1] for choice in choices}) == 4
    scores = score_sequences(model, family, encoded, choices)
    for choice, score in zip(choices, scores, strict=True):
        logs, _ = full_pass(model, family, image, choice)
        torch.testing.assert_close(score.log_probabilities, logs, atol=1e-5, rtol=0)


def test_attention_is_not_renormalised_over_the_image(model_and_family, photo):
    model, family = model_and_family
    grid = family.grid(72, 72)
    encoded = encode(model, family, photo(72, 72))
    sequences = [prompts.description(family, grid, "a cat")]
    (score,) = score_sequences(model, family, encoded, sequences, attention=True)
    assert (score.attention.sum(-1) < 0.999).all()


@pytest.mark.parametrize("one_pass", [True, False])
def test_descriptions_and_a_question_equal_full_eager_passes(model_and_family, photo, one_pass):
    model, family = model_and_family
    image, grid = photo(108, 72), family.grid(108, 72)
    encoded = encode(model, family, image)
    sequences = [
        *(prompts.description(family, grid, text) for text in DESCRIPTIONS),
        *prompts.choices(family, grid, OPTIONS),
    ]
    passes = []
    decoder = model.get_submodule(family.decoder)
    hook = decoder.register_forward_hook(lambda *_: passes.append(1))
    scores = score_sequences(model, family, encoded, sequences, one_pass=one_pass)
    hook.remove()
    # where the image sees the prompt, description and question have an image of their own
    shared_passes = 2 if family.attention_pattern == "prefix" else 1
    assert len(passes) == (shared_passes if one_pass else len(sequences))
    for sequence, score in zip(sequences, scores, strict=True):
        logs, _ = full_pass(model, family, image, sequence)
        assert score.attention is None
        torch.testing.assert_close(score.log_probabilities, logs, atol=1e-5, rtol=0)


def test_a_sliding_window_equals_full_eager_passes(model_and_family, photo):
    model, family = model_and_family
    text = model.get_submodule(family.decoder)
    layers = [layer.self_attn for layer in text.layers]
    if getattr(layers[0], "sliding_window", None) is None:
        pytest.skip("the family's decoder has no sliding window")
    image, grid = photo(108, 72), family.grid(108, 72)
    encoded = encode(model, family, image)
    sequences = [prompts.description(family, grid, text) for text in DESCRIPTIONS]
    before = text.config.sliding_window, [layer.sliding_window for layer in layers]
    text.config.sliding_window = 50
    for layer in layers:
        layer.sliding_window = 50 if layer.sliding_window else None
    try:
        scores = score_sequences(model, family, encoded, sequences, attention=True)
        expected = [full_pass(model, family, image, sequence) for sequence in sequences]
    finally:
        text.config.sliding_window = before[0]
        for layer, window in zip(layers, before[1], strict=True):
            layer.sliding_window = window
    assert (expected[0][1][0] == 0).any(), "the window must hide image tokens from a description"
    for score, (logs, attention) in zip(scores, expected, strict=True):
        torch.testing.assert_close(score.log_probabilities, logs, atol=1e-5, rtol=0)
        torch.testing.assert_close(score.attention, attention, atol=1e-7, rtol=0)


def test_a_value_that_is_not_finite_is_named(model_and_family, photo):
    model, family = model_and_family
    grid = family.grid(72, 72)
    encoded = encode(model, family, photo(72, 72))
    encoded = replace(encoded, features=encoded.features * float("nan"), name="sample 7")
    sequences = [prompts.description(family, grid, "a cat")]
    with pytest.raises(FloatingPointError, match="sample 7: attention in layer 0 is not"):
        score_sequences(model, family, encoded, sequences, attention=True)
    with pytest.raises(FloatingPointError, match="sample 7: a log-probability is not finite"):
        score_sequences(model, family, encoded, sequences)


@pytest.mark.parametrize("softcap", [None, 50.0])
def test_sdpa_refuses_a_softcap(model_and_family, softcap):
    """It would ignore it; the models' own eager attention does not."""
    _, family = model_and_family
    grid = family.grid(72, 72)
    root = Segment((family.image_token,) * grid.tokens)
    layout = lay_out(family, grid, [root, Segment((5, 6), parent=0, target=True)])
    states = torch.ones(1, 2, len(layout), 4)
    arguments = {"prefix_layout": PrefixLayout([layout], grid.tokens), "scaling": 1.0}
    ALL_ATTENTION_FUNCTIONS["prefix_eager"](None, *[states] * 3, None, softcap=softcap, **arguments)
    module = torch.nn.Module()
    if softcap is None:
        ALL_ATTENTION_FUNCTIONS["prefix_sdpa"](module, *[states] * 3, None, **arguments)
        return
    with pytest.raises(ValueError, match="SDPA would ignore the softcap"):
        ALL_ATTENTION_FUNCTIONS["prefix_sdpa"](
            module, *[states] * 3, None, softcap=softcap, **arguments
        )


def test_the_attention_implementation_is_restored_after_an_error(model_and_family):
    model, family = model_and_family
    config = model.get_submodule(family.decoder).config
    before = config._attn_implementation
    with pytest.raises(KeyError), use_prefix_attention(config):
        assert config._attn_implementation == f"prefix_{before}"
        raise KeyError
    assert config._attn_implementation == before


def test_the_additive_mask_is_the_dtypes_minimum_where_a_key_is_hidden(model_and_family):
    _, family = model_and_family
    grid = family.grid(72, 72)
    root = Segment((family.image_token,) * grid.tokens)
    tails = [Segment((5, 6), parent=0, target=True), Segment((7,), parent=0, target=True)]
    prefix = PrefixLayout([lay_out(family, grid, [root, *tails])], grid.tokens)
    minimum = torch.finfo(torch.bfloat16).min
    mask = prefix.additive_mask(torch.zeros(1, dtype=torch.bfloat16))[0, 0]
    assert mask.dtype == torch.bfloat16
    assert (mask[:, : grid.tokens] == 0).all()
    assert mask[:, grid.tokens :].tolist() == [
        [0, minimum, minimum],
        [0, 0, minimum],
        [minimum, minimum, 0],
    ]

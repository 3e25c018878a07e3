"""Several images in one pass of the model, against a pass for each conversation."""

import pytest
import torch

from headimpact.models import prefix_groups, prompts
from headimpact.models.continuations import score_continuations
from headimpact.models.family import EncodedImage
from headimpact.models.prefix_groups import batch_by_length, group_by_prefix

# an image's size, its descriptions, and the options of its questions; the last has no description
IMAGES = [
    ((108, 72), ["a cat"], [["a dog", "a cat", "a cup", "a tree"]]),
    (
        (72, 108),
        ["a large pink moon that smokes", "a zebra", "a cat"],
        [
            ["a cat", "a small red circle", "no one", "a blue zebra that smokes"],
            ["a dog", "a cat", "a tree", "a cup"],
        ],
    ),
    ((200, 145), ["a small red circle"], []),
    ((108, 72), [], [["a large pink moon", "a boat", "a car", "a zebra"]]),
]


def make_conversations(model, family, photo):
    """About all IMAGES; those about one image do not follow each other."""
    of_images = []
    for seed, (size, texts, questions) in enumerate(IMAGES):
        grid = family.grid(*size)
        (features,) = family.features(model, family.pixels([photo(*size, seed)]))
        image = EncodedImage(features, grid)
        sequences = [prompts.description(family, grid, text) for text in texts]
        for options in questions:
            sequences += prompts.choices(family, grid, options)
        of_images.append([(image, sequence) for sequence in sequences])
    longest = max(map(len, of_images))
    return [pairs[i] for i in range(longest) for pairs in of_images if i < len(pairs)]


def count_passes(model, family, conversations, **options):
    """The scores, and the number of sequences in each pass of the model."""
    passes = []
    decoder = model.get_submodule(family.decoder)
    hook = decoder.register_forward_hook(
        lambda _module, _args, output: passes.append(len(output[0]))
    )
    scores = score_continuations(model, family, conversations, **options)
    hook.remove()
    return scores, passes


def assert_equal(scores, expected):
    for score, separate in zip(scores, expected, strict=True):
        torch.testing.assert_close(
            score.log_probabilities, separate.log_probabilities, atol=1e-5, rtol=0
        )
        if separate.attention is not None:
            torch.testing.assert_close(score.attention, separate.attention, atol=1e-6, rtol=0)


@pytest.mark.parametrize("attention", [False, True])
@pytest.mark.parametrize("most_padding", [0, 0.1, 1])
def test_several_images_equal_separate_passes(
    model_and_family, photo, monkeypatch, most_padding, attention
):
    model, family = model_and_family
    monkeypatch.setattr(prefix_groups, "MOST_PADDING", most_padding)
    conversations = make_conversations(model, family, photo)
    separate, separate_passes = count_passes(
        model, family, conversations, attention=attention, one_pass=False
    )
    assert separate_passes == [1] * len(conversations)
    scores, passes = count_passes(model, family, conversations, attention=attention)
    # where the image sees the prompt, each of its prompts is a sequence: two, three, one and one
    sequences = 7 if family.attention_pattern == "prefix" else 4
    assert sum(passes) == sequences
    if most_padding == 1:
        assert passes == [sequences]
    assert_equal(scores, separate)


@pytest.mark.parametrize("most_padding", [0.1, 1])
def test_several_images_with_a_sliding_window_equal_separate_passes(
    model_and_family, photo, monkeypatch, most_padding
):
    model, family = model_and_family
    text = model.get_submodule(family.decoder)
    layers = [layer.self_attn for layer in text.layers]
    if getattr(layers[0], "sliding_window", None) is None:
        pytest.skip("the family's decoder has no sliding window")
    monkeypatch.setattr(prefix_groups, "MOST_PADDING", most_padding)
    monkeypatch.setattr(text.config, "sliding_window", 50)
    for layer in layers:
        monkeypatch.setattr(layer, "sliding_window", 50 if layer.sliding_window else None)
    conversations = make_conversations(model, family, photo)
    expected = score_continuations(model, family, conversations, attention=True, one_pass=False)
    assert (expected[0].attention[0] == 0).any(), "the window must hide image tokens"
    assert_equal(score_continuations(model, family, conversations, attention=True), expected)


@pytest.mark.parametrize("most_padding", [0, 0.1, 0.5])
def test_a_pass_holds_no_more_padding_than_allowed(
    model_and_family, photo, monkeypatch, most_padding
):
    model, family = model_and_family
    monkeypatch.setattr(prefix_groups, "MOST_PADDING", most_padding)
    conversations = make_conversations(model, family, photo)
    groups = group_by_prefix(family, conversations, with_last_token=False)
    batches = batch_by_length(groups)
    numbers = [n for batch in batches for group in batch for n in group.numbers]
    assert sorted(numbers) == list(range(len(conversations)))
    for batch in batches:
        start = max(group.start for group in batch)
        tail_length = max(group.tail_length for group in batch)
        tokens = sum(map(len, batch))
        assert tokens >= (1 - most_padding) * len(batch) * (start + tail_length)

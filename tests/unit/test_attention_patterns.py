"""The layout's visibility against the attention of transformers' own models, for all patterns."""

import numpy as np
import pytest
import torch
from plain_pass import intervened_pass
from transformers import Gemma3Config, Gemma3ForConditionalGeneration

from headimpact.models import prefix_groups, prompts
from headimpact.models.continuations import score_continuations
from headimpact.models.family import EncodedImage, Sequence
from headimpact.models.gemma3 import Gemma3
from headimpact.models.interventions import (
    Intervention,
    branch_tokens,
    predict_under_interventions,
)
from headimpact.models.layout import conversation_segments, lay_out

IMAGE = 99
TYPES = ("sliding_attention", "full_attention")
# an image of 16 tokens behind three others
PROMPT = (2, 5, 6, *[IMAGE] * 16, 7)
SEQUENCES = [
    Sequence((*PROMPT, 8, 9, 10, 11, 12), 21),
    Sequence((*PROMPT, 8, 9, 13, 14), 21),
    Sequence((*PROMPT, 20, 21, 22), 22),
]


# a window of more than the sequence, of less than it, and of less than the image
@pytest.fixture(scope="module", params=[512, 18, 6])
def gemma3(request):
    torch.manual_seed(0)
    heads = {"num_attention_heads": 4, "num_hidden_layers": 2}
    text = {"vocab_size": 100, "hidden_size": 48, "intermediate_size": 64, "head_dim": 12, **heads}
    text |= {"num_key_value_heads": 2, "query_pre_attn_scalar": 12, "initializer_range": 0.2}
    text |= {"layer_types": list(TYPES), "sliding_window": request.param}
    vision = {"hidden_size": 32, "intermediate_size": 48, **heads}
    vision |= {"patch_size": 14, "image_size": 112}
    config = Gemma3Config(
        text_config=text, vision_config=vision, mm_tokens_per_image=16, image_token_id=IMAGE
    )
    model = Gemma3ForConditionalGeneration(config).eval()
    # its projection of image features starts as zeros
    torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight)
    return model, Gemma3(model.config, None, None), request.param


def eager_pass(model, ids, **inputs):
    """Logits (length, vocabulary) and attention (layers, heads, queries, keys) of a full pass."""
    text = model.config.get_text_config()
    implementation, text._attn_implementation = text._attn_implementation, "eager"
    ids = torch.tensor([ids])
    inputs["attention_mask"] = torch.ones_like(ids)
    with torch.no_grad():
        outputs = model(input_ids=ids, output_attentions=True, use_cache=False, **inputs)
    text._attn_implementation = implementation
    return outputs.logits[0], torch.cat(outputs.attentions)


@pytest.mark.parametrize("sequence", SEQUENCES)
def test_gemma3_is_expressed_by_the_image_pattern(gemma3, sequence):
    model, family, window = gemma3
    types = torch.tensor([[int(token == IMAGE) for token in sequence.ids]])
    pixels = torch.randn(1, 3, 112, 112, generator=torch.Generator().manual_seed(1))
    logits, attention = eager_pass(model, sequence.ids, token_type_ids=types, pixel_values=pixels)
    layout = lay_out(family, family.grid(112, 112), conversation_segments(sequence))
    assert torch.equal(attention[0].amax(0) > 0, layout.visible(window=window))
    assert torch.equal(attention[1].amax(0) > 0, layout.visible())
    (features,) = family.features(model, {"pixel_values": pixels})
    image = EncodedImage(features, family.grid(112, 112))
    conversations = [(image, sequence) for sequence in SEQUENCES]
    scores = score_continuations(model, family, conversations, attention=True)
    score = scores[SEQUENCES.index(sequence)]
    targets = torch.tensor(sequence.ids[sequence.start :])[:, None]
    logs = logits[sequence.start - 1 : -1].log_softmax(-1).gather(-1, targets)[:, 0]
    torch.testing.assert_close(score.log_probabilities, logs, atol=1e-5, rtol=0)
    to_image = attention[:, :, sequence.start :, np.array(sequence.ids) == IMAGE].mean(2)
    torch.testing.assert_close(score.attention, to_image, atol=1e-6, rtol=0)


def test_images_in_one_pass_of_gemma3_equal_separate_passes(gemma3, monkeypatch):
    model, family, _ = gemma3
    monkeypatch.setattr(prefix_groups, "MOST_PADDING", 1)
    (features,) = family.features(model, {"pixel_values": torch.randn(1, 3, 112, 112)})
    conversations = []
    for shift, cut in ((0, 0), (1, 2), (2, 1)):
        image = EncodedImage(features.roll(shift, 0), family.grid(112, 112))
        for sequence in SEQUENCES[shift:]:
            # prompts of different lengths before the image
            conversations.append((image, Sequence(sequence.ids[cut:], sequence.start - cut)))
    scores = score_continuations(model, family, conversations, attention=True)
    expected = score_continuations(model, family, conversations, attention=True, one_pass=False)
    for score, separate in zip(scores, expected, strict=True):
        torch.testing.assert_close(
            score.log_probabilities, separate.log_probabilities, atol=1e-5, rtol=0
        )
        torch.testing.assert_close(score.attention, separate.attention, atol=1e-6, rtol=0)


@pytest.mark.parametrize("variant", ["renormalise", "zero", "mean"])
def test_interventions_on_gemma3_equal_separate_passes_with_hooks(gemma3, variant):
    model, family, _ = gemma3
    (sequence, *_) = SEQUENCES
    ids = torch.tensor([sequence.ids])
    pixels = torch.randn(1, 3, 112, 112, generator=torch.Generator().manual_seed(1))
    inputs = {"token_type_ids": (ids == IMAGE).long(), "pixel_values": pixels}
    inputs["attention_mask"] = torch.ones_like(ids)
    (features,) = family.features(model, {"pixel_values": pixels})
    image = EncodedImage(features, family.grid(112, 112))
    heads = torch.tensor([[True, False, False, True], [False, True, False, False]])
    interventions = [
        Intervention(heads),
        Intervention(~heads, columns=torch.arange(16) % 3 > 0),
        Intervention(heads, rows=torch.arange(len(branch_tokens(family, sequence))) > 1),
    ]
    predictions = predict_under_interventions(
        model, family, image, sequence, interventions, variant
    )
    for intervention, logs in zip(interventions, predictions, strict=True):
        expected = intervened_pass(model, family, sequence, inputs, intervention, variant)
        torch.testing.assert_close(logs, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("window", [None, 50, 20])
def test_the_families_see_what_their_models_see(model_and_family, photo, window):
    model, family = model_and_family
    layers = [layer.self_attn for layer in model.get_submodule(family.decoder).layers]
    windows = [getattr(layer, "sliding_window", None) for layer in layers]
    if window and not any(windows):
        pytest.skip("the family's decoder has no sliding window")
    grid = family.grid(108, 72)
    sequence = prompts.description(family, grid, "a blue zebra that smokes")
    layout = lay_out(family, grid, conversation_segments(sequence))
    inputs = {name: types[None] for name, types in layout.token_types.items()}
    inputs["position_ids"] = family.arrange_positions(layout.positions[None])
    text = model.config.get_text_config()
    before = getattr(text, "sliding_window", None)
    if window:
        text.sliding_window = window
    try:
        inputs |= family.pixels([photo(108, 72)])
        _, attention = eager_pass(model, sequence.ids, **inputs)
    finally:
        if window:
            text.sliding_window = before
    for weights, layer_window in zip(attention, windows, strict=True):
        visible = layout.visible(window=window if layer_window else None)
        assert torch.equal(weights.amax(0) > 0, visible)

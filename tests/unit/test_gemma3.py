"""Gemma 3: token types of its image, and a chat template that changes texts."""

import pytest
import tiny_families
import torch
from painted import encode
from plain_pass import plain_pass, target_log_probabilities

from headimpact.guards import UserError
from headimpact.models import prompts
from headimpact.models.continuations import score_continuations
from headimpact.models.gemma3 import Gemma3
from headimpact.models.layout import conversation_segments, lay_out


@pytest.fixture(scope="module")
def tiny_gemma3():
    return tiny_families.make("gemma3")


def test_image_tokens_and_no_others_have_type_one(tiny_gemma3):
    _, family = tiny_gemma3
    grid = family.grid(90, 60)
    sequence = prompts.description(family, grid, "a cat")
    layout = lay_out(family, grid, conversation_segments(sequence))
    types = layout.token_types["token_type_ids"]
    assert types.sum() == grid.tokens
    assert (types == layout.is_image).all()


def test_token_types_change_what_the_model_predicts(tiny_gemma3, photo, monkeypatch):
    model, family = tiny_gemma3
    image = photo(90, 60)
    encoded = encode(model, family, image)
    sequence = prompts.description(family, encoded.grid, "a cat")

    def score():
        (result,) = score_continuations(model, family, [(encoded, sequence)])
        return result.log_probabilities

    with torch.no_grad():
        expected = target_log_probabilities(plain_pass(model, family, image, sequence), sequence)
    torch.testing.assert_close(score(), expected, atol=1e-4, rtol=0)
    monkeypatch.delattr(Gemma3, "token_types")
    assert (score() - expected).abs().max() > 0.01


def test_the_image_processors_crops_are_left_out(tiny_gemma3, photo):
    _, family = tiny_gemma3
    processor = family.image_processor
    settings = processor.to_dict() | {
        "do_pan_and_scan": True,
        "pan_and_scan_min_crop_size": 10,
        "pan_and_scan_max_num_crops": 4,
        "pan_and_scan_min_ratio_to_activate": 1.2,
    }
    cropping = type(processor)(**settings)
    assert len(cropping(images=[photo(200, 60)])["pixel_values"]) > 1
    family = Gemma3(family.config, family.tokenizer, cropping)
    assert len(family.pixels([photo(200, 60)])["pixel_values"]) == 1


@pytest.mark.parametrize("target", ["a cat ", " a cat"])
def test_an_answer_that_the_template_trims_is_refused(tiny_gemma3, target):
    _, family = tiny_gemma3
    with pytest.raises(UserError, match=r"the chat template changes the answer .*a cat"):
        family.sequence(family.grid(90, 60), "What is this?", "{target}", target)


def test_a_template_without_the_image_s_own_text_is_refused():
    _, family = tiny_families.make("gemma3")
    template = family.tokenizer.chat_template
    family.tokenizer.chat_template = template.replace("<start_of_image>", "<image_soft_token>")
    with pytest.raises(UserError, match="does not write <start_of_image> for an image"):
        prompts.description(family, family.grid(90, 60), "a cat")

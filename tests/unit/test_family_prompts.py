"""The prompt of each tiny family, to the character as its processor of transformers writes it."""

import pytest
import tiny_families
from transformers import PreTrainedTokenizerFast
from transformers.processing_utils import ProcessorMixin

from headimpact.models import prompts

SIZES = [(108, 72), (72, 108), (300, 90), (40, 40)]


@pytest.fixture
def written(tiny_name, monkeypatch, photo):
    """The text that a family's own processor makes of an image, a user's text and an answer."""
    module = tiny_families.MODULES[tiny_name]
    if not hasattr(module, "own_processor"):
        pytest.skip("the family's processor does not run without torchvision")
    # it would look up the class of a video processor, which needs torchvision
    monkeypatch.setattr(ProcessorMixin, "check_argument_for_proper_class", lambda *_: object)
    tokenize, texts = PreTrainedTokenizerFast.__call__, []

    def record(tokenizer, text, **options):
        texts.append(text)
        return tokenize(tokenizer, text, **options)

    def write(family, image, user, answer):
        turns = [
            {"role": "user", "content": [{"type": "image"}, {"type": "text", "text": user}]},
            {"role": "assistant", "content": [{"type": "text", "text": answer}]},
        ]
        template = family.tokenizer.chat_template
        with monkeypatch.context() as patch:
            processor = module.own_processor(family, patch)
            text = processor.apply_chat_template(turns, chat_template=template)
            patch.setattr(PreTrainedTokenizerFast, "__call__", record)
            ids = processor(images=[[image]], text=[text])["input_ids"][0]
        return texts[-1][0], ids

    return write


@pytest.mark.parametrize("size", SIZES)
def test_the_prompt_is_that_of_the_familys_own_processor(tiny, written, photo, size):
    _, families = tiny
    for family in families:
        texts = prompts.PROMPTS[family.prompts]
        answer = texts.description.format(target="a cat")
        expected, ids = written(family, photo(*size), texts.describe, answer)
        grid = family.grid(*size)
        assert family.conversation(grid, texts.describe, answer) == expected
        sequence = prompts.description(family, grid, "a cat").ids
        assert list(sequence) == ids[: len(sequence)]

"""The paper's prompts (appendix) as each family's checkpoint writes them, to the character."""

import json

import pytest

from headimpact.miniature.checkpoints import MAKERS, save
from headimpact.models.load import load_family

OPTIONS = "A) a cat B) a dog C) a hat D) tea"
QUESTION = f"What is shown in this photo?\nChoose one of the options:\n{OPTIONS}"
PATCHES = "<|image_pad|>" * 9 * 9
TILE = "<image>" * 9
DESCRIBED = {
    "paligemma2": "<image>" * 81 + "<bos>describe en\na cat",
    "qwen2_vl": "<|im_start|>system\nYou are a helpful assistant.<|im_end|>\n<|im_start|>user\n"
    f"<|vision_start|>{PATCHES}<|vision_end|>What is this photo?<|im_end|>\n"
    "<|im_start|>assistant\nThis is a photo of a cat.<|im_end|>\n",
    "idefics3": "<|im_start|>User:"
    + "".join(
        "".join(f"<fake_token_around_image><row_{r}_col_{c}>{TILE}" for c in (1, 2, 3)) + "\n"
        for r in (1, 2, 3)
    )
    + f"\n<fake_token_around_image><global-img>{TILE}<fake_token_around_image>"
    "What is this photo?<end_of_utterance>\n"
    "Assistant: This is a photo of a cat.<end_of_utterance>\n",
}
ASKED = {
    "paligemma2": f"answer en\n{OPTIONS}\nB.",
    "qwen2_vl": f"<|vision_end|>{QUESTION}<|im_end|>\n<|im_start|>assistant\nB.<|im_end|>\n",
    "idefics3": f"<fake_token_around_image>{QUESTION}<end_of_utterance>\n"
    "Assistant: B.<end_of_utterance>\n",
}


@pytest.fixture(params=sorted(MAKERS))
def family(request):
    return MAKERS[request.param]()[1], request.param


def test_the_description_is_prefilled_as_the_appendix_has_it(family):
    family, name = family
    grid, prompts = family.grid(108, 108), family.prompts
    answer = prompts.description.format(target="a cat")
    assert family.conversation(grid, prompts.describe, answer) == DESCRIBED[name]
    sequence = family.description(grid, "a cat")
    # the description's own tokens: neither the words before them nor the full stop
    assert family.tokenizer.decode(sequence.ids[sequence.start :]) == "acat"


def test_the_question_is_the_appendix_s(family):
    family, name = family
    options = ["a cat", "a dog", "a hat", "tea"]
    grid, prompts = family.grid(108, 108), family.prompts
    text = family.conversation(grid, prompts.question(options), prompts.choice.format(target="B"))
    assert text.endswith(ASKED[name])
    labels = [family.tokenizer.decode(c.ids[c.start :]) for c in family.choices(grid, options)]
    assert labels == ["A", "B", "C", "D"]


PLACES = ("chat_template.jinja", "chat_template.json", "processor_config.json", "tokenizer")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ["qwen2_vl", "idefics3"])
def test_the_chat_template_is_read_from_where_it_lies(tmp_path, name, place):
    model, family = MAKERS[name]()
    save(tmp_path, model, family)
    template = (tmp_path / "chat_template.jinja").read_text()
    (tmp_path / "chat_template.jinja").unlink()
    if place == "tokenizer":
        path = tmp_path / "tokenizer_config.json"
        told = json.loads(path.read_text())
        path.write_text(json.dumps({**told, "chat_template": template}))
    elif place.endswith(".json"):
        (tmp_path / place).write_text(json.dumps({"chat_template": template}))
    else:
        (tmp_path / place).write_text(template)
    grid = family.grid(108, 108)
    read = load_family(tmp_path)
    assert read.conversation(grid, "a", "b") == family.conversation(grid, "a", "b")


def test_without_a_chat_template_the_mend_is_told(tmp_path):
    model, family = MAKERS["qwen2_vl"]()
    save(tmp_path, model, family)
    (tmp_path / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match=r"no chat template; put its chat_template\.jinja"):
        load_family(tmp_path).description(family.grid(108, 108), "a cat")


def test_weights_that_are_missing_are_not_drawn_at_random(tmp_path):
    from safetensors.torch import load_file, save_file

    from headimpact.models.load import load_model

    save(tmp_path, *MAKERS["qwen2_vl"]())
    path = tmp_path / "model.safetensors"
    weights = load_file(path)
    gone = next(name for name in weights if name.endswith("layers.3.self_attn.k_proj.weight"))
    del weights[gone]
    save_file(weights, path, metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"1 weights of Qwen2VL.* missing, among them .*layers\.3"):
        load_model(tmp_path)

"""The paper's prompts (appendix) as each family's checkpoint writes them, to the character."""

import json

import pytest
from transformers import Idefics3Processor

from headimpact.miniature.checkpoints import MAKERS, save
from headimpact.miniature.tokenizers import SPECIAL, make_tokenizer
from headimpact.models import prompts
from headimpact.models.chat import chat_template
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


def test_descriptions_are_prefilled_as_in_the_appendix(family):
    family, name = family
    grid, texts = family.grid(108, 108), prompts.PROMPTS[family.prompts]
    answer = texts.description.format(target="a cat")
    assert family.conversation(grid, texts.describe, answer) == DESCRIBED[name]
    sequence = prompts.description(family, grid, "a cat")
    # the description's own tokens: neither the words before them nor the full stop
    assert family.tokenizer.decode(sequence.ids[sequence.start :]) == "acat"


def test_questions_are_the_appendixs(family):
    family, name = family
    options = ["a cat", "a dog", "a hat", "tea"]
    grid, texts = family.grid(108, 108), prompts.PROMPTS[family.prompts]
    text = family.conversation(grid, texts.question(options), texts.choice.format(target="B"))
    assert text.endswith(ASKED[name])
    labels = [
        family.tokenizer.decode(c.ids[c.start :]) for c in prompts.choices(family, grid, options)
    ]
    assert labels == ["A", "B", "C", "D"]


@pytest.mark.parametrize("size", [(108, 108), (108, 72), (72, 108), (300, 100)])
@pytest.mark.parametrize("split", [True, False])
def test_tiles_are_written_as_by_transformers_processor(photo, size, split):
    _, family = MAKERS["idefics3"]()
    family.image_processor.do_image_splitting = split
    processor = Idefics3Processor(family.image_processor, family.tokenizer, image_seq_len=9)
    expected = processor(images=[[photo(*size)]], text=["<image>"], add_special_tokens=False)
    written = family.tokenizer(family.placeholder(family.grid(*size)), add_special_tokens=False)
    assert written["input_ids"] == expected["input_ids"][0]


PLACES = ("chat_template.jinja", "chat_template.json", "processor_config.json", "tokenizer")


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("name", ["qwen2_vl", "idefics3"])
def test_the_chat_template_is_found_in_every_place(tmp_path, name, place):
    model, family = MAKERS[name]()
    save(tmp_path, model, family)
    template = (tmp_path / "chat_template.jinja").read_text()
    (tmp_path / "chat_template.jinja").unlink()
    if place == "tokenizer":
        path = tmp_path / "tokenizer_config.json"
        record = json.loads(path.read_text())
        path.write_text(json.dumps({**record, "chat_template": template}))
    elif place.endswith(".json"):
        (tmp_path / place).write_text(json.dumps({"chat_template": template}))
    else:
        (tmp_path / place).write_text(template)
    grid = family.grid(108, 108)
    read = load_family(tmp_path)
    assert read.conversation(grid, "a", "b") == family.conversation(grid, "a", "b")


def as_json(text):
    return json.dumps({"chat_template": text})


@pytest.mark.parametrize(
    "files",
    [
        {"chat_template.jinja": "CHOSEN", "chat_template.json": as_json("another")},
        {"chat_template.json": as_json("CHOSEN"), "tokenizer_config.json": as_json("another")},
        {"chat_template.json": "{}", "processor_config.json": as_json("CHOSEN")},
    ],
)
def test_the_processors_chat_template_comes_first(tmp_path, files):
    model, family = MAKERS["qwen2_vl"]()
    save(tmp_path, model, family)
    (tmp_path / "chat_template.jinja").unlink()
    for name, text in files.items():
        path = tmp_path / name
        if name == "tokenizer_config.json":
            text = json.dumps({**json.loads(path.read_text()), **json.loads(text)})
        path.write_text(text.replace("CHOSEN", "chosen"))
    assert load_family(tmp_path).tokenizer.chat_template == "chosen"


@pytest.mark.parametrize("images", ["", "<|image_pad|><|image_pad|>"])
def test_a_chat_template_without_one_image_is_refused(images):
    _, family = MAKERS["qwen2_vl"]()
    family.tokenizer.chat_template = f"{images}{{{{ messages[1].content[0].text }}}}"
    with pytest.raises(ValueError, match=r"does not write <\|image_pad\|> for an image"):
        prompts.description(family, family.grid(108, 108), "a cat")


@pytest.mark.parametrize("text", ["{% for x in y %}", "{{ 1 + 'a' }}", "{{ ''.__class__.x.y }}"])
def test_a_chat_template_that_cannot_be_filled_is_refused(text):
    _, family = MAKERS["qwen2_vl"]()
    family.tokenizer.chat_template = text
    with pytest.raises(
        ValueError, match=r"template cannot be filled .*; download chat_template\.jinja again"
    ):
        prompts.description(family, family.grid(108, 108), "a cat")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        *(("chat_template.json", content) for content in (b"{", b"[1]", b"7", b"[" * 100000)),
        ("processor_config.json", b"null"),
        ("chat_template.jinja", b"\xff"),
    ],
)
def test_a_damaged_chat_template_is_named(tmp_path, name, content):
    save(tmp_path, *MAKERS["qwen2_vl"]())
    (tmp_path / "chat_template.jinja").unlink()
    (tmp_path / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"{name}: not JSON or not UTF-8 .*; download it again"):
        chat_template(tmp_path)


def test_an_image_token_that_the_tokenizer_lacks_is_added(tmp_path, monkeypatch):
    model, family = MAKERS["paligemma2"]()
    save(tmp_path, model, family)
    monkeypatch.setitem(SPECIAL, "paligemma2", [])
    tokenizer = make_tokenizer("paligemma2")
    tokenizer.save_pretrained(tmp_path)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "image_token_id": len(tokenizer)}))
    read = load_family(tmp_path)
    ids = prompts.description(read, read.grid(108, 108), "a cat").ids
    assert ids[:81] == (len(tokenizer),) * 81 and len(tokenizer) not in ids[81:]


def test_without_a_chat_template_the_error_says_what_to_do(tmp_path):
    model, family = MAKERS["qwen2_vl"]()
    save(tmp_path, model, family)
    (tmp_path / "chat_template.jinja").unlink()
    with pytest.raises(ValueError, match=r"no chat template; put its chat_template\.jinja"):
        prompts.description(load_family(tmp_path), family.grid(108, 108), "a cat")

"""Florence-2: its inputs, how checkpoints are loaded, and the boxes it returns."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import Florence2Config, Florence2ForConditionalGeneration
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from headimpact.annotate.florence2 import TASK, Grounder
from headimpact.dataset.coco import CocoFolder
from headimpact.guards import UserError
from headimpact.miniature.annotators import save_florence2

CAPTIONS = (
    "A dog sitting on a bed covered with clothing, blankets and other items.",
    "Two trains",
    "  a man that is in some water with a kite \n",
    "",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("florence2")
    save_florence2(folder)
    return folder


@pytest.fixture(scope="module")
def grounder(folder):
    return Grounder(folder)


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


@pytest.fixture
def pictures(photo):
    """Photographs of the smallest and the largest size of COCO, one of them in grey."""
    return [photo(200, 145), photo(640, 640, 1), photo(427, 640, 2).convert("L"), photo(640, 426)]


@pytest.fixture
def generate_texts(grounder, monkeypatch):
    """A function that makes the model generate the given texts."""

    def generate_texts(*texts):
        tokens = grounder.processor.tokenizer(list(texts), padding=True, return_tensors="pt")
        monkeypatch.setattr(grounder.model, "generate", lambda **_: tokens["input_ids"])

    return generate_texts


@pytest.fixture
def calls(grounder, monkeypatch):
    """The arguments of every call of the model's generate, which still runs."""
    calls, generate = [], grounder.model.generate
    monkeypatch.setattr(
        grounder.model, "generate", lambda **inputs: calls.append(inputs) or generate(**inputs)
    )
    return calls


def convert_to_hub_layout(folder, images):
    """Rewrite a checkpoint as transformers 4 did: float16, and one file for each processor."""
    config = json.loads((folder / "processor_config.json").read_text())
    images = {**config.pop("image_processor"), "image_processor_type": images}
    images |= {"do_convert_rgb": None, "processor_class": "Florence2Processor"}
    (folder / "preprocessor_config.json").write_text(json.dumps(images))
    (folder / "processor_config.json").write_text(json.dumps(config))
    tokens = json.loads((folder / "tokenizer_config.json").read_text())
    tokens["additional_special_tokens"] = tokens["extra_special_tokens"]
    tokens["extra_special_tokens"] = {"image_token": tokens.pop("image_token")}
    tokens["tokenizer_class"] = "BartTokenizer"
    (folder / "tokenizer_config.json").write_text(json.dumps(tokens))
    weights = load_file(folder / "model.safetensors")
    weights = {name: value.half() for name, value in weights.items()}
    weights["lm_head.weight"] = weights.pop("model.language_model.shared.weight")
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps({**config, "dtype": "float16"}))


def test_boxes_are_not_rounded_to_pixels(grounder, generate_texts, photo):
    """The boxes that the authors published for image 22192 have fractions of pixels."""
    text = (
        "<s>A dog<loc_110><loc_276><loc_342><loc_874>a bed<loc_0><loc_617><loc_998><loc_998>"
        "other items<loc_391><loc_354><loc_723><loc_769><loc_135><loc_772><loc_311><loc_998></s>"
    )
    generate_texts(text)
    pairs = grounder.ground([photo(640, 426)], ["any"])[0]
    assert [phrase for phrase, _ in pairs] == ["A dog", "a bed", "other items", "other items"]
    published = [
        (70.72000122070312, 117.78900146484375, 219.1999969482422, 372.5369873046875),
        (0.3199999928474426, 263.05499267578125, 639.0399780273438, 425.3609924316406),
        (250.55999755859375, 151.01699829101562, 463.03997802734375, 327.8070068359375),
        (86.72000122070312, 329.0849914550781, 199.36000061035156, 425.3609924316406),
    ]
    for (_, box), expected in zip(pairs, published, strict=True):
        assert box == pytest.approx(expected, abs=1e-4)
        assert all(type(edge) is float for edge in box)


def test_boxes_without_area_and_empty_phrases_are_returned(grounder, generate_texts, photo):
    generate_texts(
        "cat<loc_5><loc_5><loc_5><loc_9>dog<loc_9><loc_2><loc_1><loc_3>",
        "é<loc_1><loc_2><loc_3><loc_4> it<loc_1><loc_2><loc_3><loc_4>",  # "it": banned
        "",
    )
    image = photo(100, 100)
    empty, nameless, none = grounder.ground([image] * 3, [""] * 3)
    assert [phrase for phrase, _ in empty] == ["cat", "dog"]
    assert empty[0][1] == pytest.approx((0.55, 0.55, 0.55, 0.95))
    assert empty[1][1] == pytest.approx((0.95, 0.25, 0.15, 0.35))
    assert [phrase for phrase, _ in nameless] == [""]
    assert none == []


def test_a_batch_gives_the_same_boxes_as_single_images(grounder, pictures):
    pictures, captions = pictures * 4, [*CAPTIONS * 3, *CAPTIONS[::-1]]
    batched = grounder.ground(pictures, captions)
    single = [grounder.ground([p], [c])[0] for p, c in zip(pictures, captions, strict=True)]
    assert batched == single
    # The boxes depend on both the image and the caption.
    assert batched != grounder.ground(pictures[::-1], captions)
    assert batched != grounder.ground(pictures, [*captions[1:], captions[0]])
    assert len({len(pairs) for pairs in batched}) > 1


def test_padding_does_not_change_the_logits(grounder, pictures, calls):
    grounder.ground(pictures, CAPTIONS)
    names = ("input_ids", "attention_mask", "pixel_values")
    for number, caption in enumerate(CAPTIONS):
        grounder.ground(pictures[number : number + 1], [caption])
        start = torch.tensor([[2, 0]])
        with torch.no_grad():
            padded = grounder.model(
                **{name: calls[0][name][number : number + 1] for name in names},
                decoder_input_ids=start,
            )
            unpadded = grounder.model(
                **{name: calls[-1][name] for name in names}, decoder_input_ids=start
            )
        assert torch.allclose(padded.logits, unpadded.logits, atol=1e-5)
    assert calls[0]["input_ids"].shape[1] > calls[-1]["input_ids"].shape[1]


def test_the_inputs_are_those_of_the_processor(grounder, pictures, calls):
    for picture, caption in zip(pictures[:3], CAPTIONS[:3], strict=True):
        grounder.ground([picture], [caption])
        expected = grounder.processor(
            images=picture.convert("RGB"), text=TASK + caption, return_tensors="pt"
        )
        for name in ("input_ids", "attention_mask", "pixel_values"):
            assert torch.equal(calls[-1][name], expected[name])


def test_generation_uses_the_options_of_the_model_card(grounder, photo, calls):
    """The authors' boxes for image 22192 show that no three tokens were repeated."""
    grounder.ground([photo(50, 40)], ["two dogs"])
    options = {name: calls[0][name] for name in ("num_beams", "do_sample", "early_stopping")}
    assert options == {"num_beams": 3, "do_sample": False, "early_stopping": False}
    assert (calls[0]["max_new_tokens"], calls[0]["no_repeat_ngram_size"]) == (1024, 3)


@pytest.mark.parametrize(
    "caption",
    ["a < b > c", "<OCR> of <image> and <OD>", "</s><pad><loc_5>", "{input} {0}", "é 犬\n\n🐕"],
)
def test_special_tokens_in_a_caption_are_read_as_text(grounder, photo, calls, caption):
    grounder.ground([photo(50, 40)], [caption])
    tokenizer, ids = grounder.processor.tokenizer, calls[0]["input_ids"][0].tolist()
    text = tokenizer.decode(ids[6:-1])
    assert text == f"Locate the phrases in the caption: {caption}"
    assert [i for i in ids if i in tokenizer.all_special_ids] == [*ids[:6], ids[-1]]


def test_a_long_caption_is_truncated_at_its_end(grounder, photo, calls):
    caption = "many dogs " * 400
    grounder.ground([photo(50, 40), photo(50, 40)], [caption, "two dogs"])
    ids = calls[0]["input_ids"][0].tolist()
    tokenizer = grounder.processor.tokenizer
    assert len(ids) == 1024
    assert ids[:6] == [tokenizer.image_token_id] * 5 + [tokenizer.bos_token_id]
    assert ids[-1] == tokenizer.eos_token_id
    assert tokenizer.decode(ids[6:-1]).endswith("many dogs many dogs many dogs")


def test_no_images_give_no_results(grounder):
    assert grounder.ground([], []) == []


@pytest.mark.parametrize("images", ["CLIPImageProcessor", "CLIPImageProcessorFast"])
def test_a_checkpoint_of_transformers_4_is_loaded(grounder, copy, pictures, images):
    convert_to_hub_layout(copy, images)
    other = Grounder(copy)
    assert isinstance(other.processor.image_processor, CLIPImageProcessorPil)
    assert other.processor.num_image_tokens == 5
    assert other.processor.post_processor.banned_grounding_tokens == {"it", "the image"}
    assert {parameter.dtype for parameter in other.model.parameters()} == {torch.float32}
    parameters = zip(grounder.model.parameters(), other.model.parameters(), strict=True)
    for expected, loaded in parameters:
        assert torch.equal(expected.half().float(), loaded)
    pixels = [g.processor.image_processor(pictures[1])["pixel_values"] for g in (grounder, other)]
    assert (pixels[0][0] == pixels[1][0]).all()
    for caption in CAPTIONS:
        assert other._tokenize(caption) == grounder._tokenize(caption)
    assert len(other.ground(pictures, CAPTIONS)) == 4


def test_missing_weights_are_refused_and_not_initialised_at_random(copy):
    weights = load_file(copy / "model.safetensors")
    del weights["model.vision_tower.convs.0.conv.weight"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"copy: 1 weights .*convs\.0\.conv\.weight"):
        Grounder(copy)


def test_a_checkpoint_without_banned_phrases_bans_none(copy):
    config = json.loads((copy / "processor_config.json").read_text())
    config.pop("post_processor_config")
    (copy / "processor_config.json").write_text(json.dumps(config))
    pairs = Grounder(copy)._parse_boxes("it<loc_1><loc_2><loc_3><loc_4>", (1000, 1000))
    assert pairs == [("it", (1.5, 2.5, 3.5, 4.5))]


def test_a_checkpoint_in_the_layout_of_microsoft_is_refused(copy):
    """It belongs to remote code with a language model of its own."""
    config = json.loads((copy / "config.json").read_text())
    config["text_config"]["model_type"] = "florence2_language"
    (copy / "config.json").write_text(json.dumps(config))
    with pytest.raises(UserError, match=r"copy: .*florence-community"):
        Grounder(copy)


def test_the_large_model_has_the_published_size():
    """0.77 B parameters, and 24 x 24 image tokens with their mean for 768 x 768 pixels."""
    vision = {
        "embed_dim": [256, 512, 1024, 2048],
        "num_heads": [8, 16, 32, 64],
        "num_groups": [8, 16, 32, 64],
        "projection_dim": 1024,
    }
    text = {"model_type": "bart", "vocab_size": 51289, "d_model": 1024}
    with torch.device("meta"):
        model = Florence2ForConditionalGeneration(
            Florence2Config(vision_config=vision, text_config=text)
        ).eval()
        model.tie_weights()
        features = model.get_image_features(torch.empty(1, 3, 768, 768)).pooler_output
    assert sum(parameter.numel() for parameter in model.parameters()) == 770_173_952
    assert features.shape == (1, 577, 1024)


def test_boxes_of_photographs_lie_on_the_bins(grounder):
    root = os.environ.get("HEADIMPACT_COCO")
    if not root:
        pytest.skip("HEADIMPACT_COCO names no folder of photographs in COCO's layout")
    folder = CocoFolder(root, "val2017")
    rows = folder.captions().drop_duplicates("image_id").head(8)
    images = [folder.image(name) for name in rows["file_name"]]
    grounded = grounder.ground(images, rows["caption"].tolist())
    assert any(grounded)
    for image, pairs in zip(images, grounded, strict=True):
        for _, box in pairs:
            bins = np.divide(box, image.size * 2) * 1000 - 0.5
            assert bins == pytest.approx(bins.round(), abs=1e-9)
            assert bins.min() >= 0 and bins.max() <= 999

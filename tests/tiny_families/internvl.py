"""InternVL3: tiles of 36 pixels, 3 x 3 tokens each, and the whole image if there are several."""

from transformers import InternVLConfig, InternVLForConditionalGeneration, InternVLProcessor
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

from headimpact.models.internvl import InternVL
from tiny_families import GREY, NO_VIDEOS, name_tokens, text_config, tokenizer_with

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for content in message['content'] %}{% if content['type'] == 'image' %}<IMG_CONTEXT>\n"
    "{% else %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
)
SPECIAL = ["<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>"]
VISION = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "patch_size": 6,
    "image_size": 36,
    "initializer_range": 0.1,
}
PROCESSOR = {"size": {"height": 36, "width": 36}, **GREY}
PROCESSOR_SETTINGS = [{"max_patches": 1}]
PUBLISHED_IMAGES = [
    (
        {
            "vision": {"patch_size": 14, "image_size": 448},
            "processor": {"size": {"height": 448, "width": 448}},
        },
        [3328, 1280, 3328, 1792],
    )
]


def own_processor(family, monkeypatch):
    names = {"start_image": "<img>", "end_image": "</img>", "context_image": "<IMG_CONTEXT>"}
    name_tokens(monkeypatch, family.tokenizer, names | {"video": "<video>"})
    length = family.config.image_seq_length
    return InternVLProcessor(family.image_processor, family.tokenizer, NO_VIDEOS, length)


def make(vision=(), processor=()):
    tokenizer = tokenizer_with(SPECIAL, TEMPLATE)
    config = InternVLConfig(
        text_config=text_config(tokenizer, model_type="qwen2"),
        vision_config=VISION | dict(vision),
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=9,
        tie_word_embeddings=False,
    )
    processor = GotOcr2ImageProcessorPil(**PROCESSOR | dict(processor))
    return InternVLForConditionalGeneration(config), InternVL(config, tokenizer, processor)

"""Qwen3-VL: patches of 6 pixels, merged 2 x 2; image features enter behind two of four layers."""

from transformers import Qwen3VLConfig, Qwen3VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.qwen3_vl.processing_qwen3_vl import Qwen3VLProcessor

from headimpact.miniature.tokenizers import make_tokenizer
from headimpact.models.qwen3_vl import Qwen3VL
from tiny_families import NO_VIDEOS, text_config
from tiny_families.qwen2_5_vl import PROCESSOR, token_ids

VISION = {
    "depth": 3,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_heads": 4,
    "out_hidden_size": 96,
    "patch_size": 6,
    "spatial_merge_size": 2,
    "num_position_embeddings": 144,
    "deepstack_visual_indexes": [0, 1],
    "initializer_range": 0.1,
}
PUBLISHED_IMAGES = [
    (
        {
            "vision": {"patch_size": 16, "num_position_embeddings": 48 * 48},
            "processor": {
                "patch_size": 16,
                "size": {"shortest_edge": 256 * 256, "longest_edge": 4096 * 4096},
            },
        },
        [300, 400, 70, 260],
    )
]


def own_processor(family, _monkeypatch):
    return Qwen3VLProcessor(family.image_processor, family.tokenizer, NO_VIDEOS)


def make(vision=(), processor=()):
    tokenizer = make_tokenizer("qwen2_vl")
    # unlike Qwen2-VL's template, this one adds no turn of the system
    tokenizer.chat_template = (
        "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
        "{% for content in message['content'] %}{% if content['type'] == 'image' %}"
        "<|vision_start|><|image_pad|><|vision_end|>{% else %}{{ content['text'] }}{% endif %}"
        "{% endfor %}<|im_end|>\n{% endfor %}"
    )
    text = text_config(tokenizer, num_hidden_layers=4)
    text["rope_parameters"] |= {"mrope_section": [4, 4, 4], "mrope_interleaved": True}
    config = Qwen3VLConfig(
        text_config=text,
        vision_config=VISION | dict(vision),
        **token_ids(tokenizer),
        tie_word_embeddings=True,
    )
    processor = Qwen2VLImageProcessorPil(**PROCESSOR | dict(processor))
    return Qwen3VLForConditionalGeneration(config), Qwen3VL(config, tokenizer, processor)

"""Gemma 3: 16 x 16 patches of 3 pixels make 8 x 8 tokens; two of three layers have a window."""

import torch
from transformers import Gemma3Config, Gemma3ForConditionalGeneration, Gemma3Processor
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil

from headimpact.models.gemma3 import Gemma3
from tiny_families import name_tokens, text_config, tokenizer_with

TEMPLATE = (
    "{{ bos_token }}{% for message in messages %}"
    "{% set role = 'model' if message['role'] == 'assistant' else message['role'] %}"
    "<start_of_turn>{{ role }}\n"
    "{% for content in message['content'] %}{% if content['type'] == 'image' %}<start_of_image>"
    "{% else %}{{ content['text'] | trim }}{% endif %}{% endfor %}<end_of_turn>\n{% endfor %}"
)
SPECIAL = [
    *("<start_of_turn>", "<end_of_turn>"),
    *("<start_of_image>", "<image_soft_token>", "<end_of_image>"),
]
VISION = {
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "patch_size": 3,
    "image_size": 48,
}
PROCESSOR = {"size": {"height": 48, "width": 48}}
PUBLISHED_IMAGES = [
    (
        {
            "vision": {"patch_size": 14, "image_size": 896},
            "processor": {"size": {"height": 896, "width": 896}},
            "tokens": 256,
        },
        [256, 256, 256, 256],
    )
]


def own_processor(family, monkeypatch):
    names = {"boi": "<start_of_image>", "image": "<image_soft_token>", "eoi": "<end_of_image>"}
    name_tokens(monkeypatch, family.tokenizer, names)
    tokens = family.config.mm_tokens_per_image
    return Gemma3Processor(family.image_processor, family.tokenizer, image_seq_length=tokens)


def make(vision=(), processor=(), tokens=64):
    tokenizer = tokenizer_with(SPECIAL, TEMPLATE)
    rope = {
        "sliding_attention": {"rope_type": "default", "rope_theta": 1e4},
        "full_attention": {"rope_type": "default", "rope_theta": 1e6},
    }
    text = text_config(
        tokenizer,
        query_pre_attn_scalar=24,
        layer_types=["sliding_attention", "full_attention", "sliding_attention"],
        sliding_window=70,  # more tokens than the image has, fewer than any sequence
        rope_parameters=rope,
    )
    config = Gemma3Config(
        text_config=text,
        vision_config=VISION | dict(vision),
        mm_tokens_per_image=tokens,
        image_token_id=tokenizer.convert_tokens_to_ids("<image_soft_token>"),
        boi_token_id=tokenizer.convert_tokens_to_ids("<start_of_image>"),
        eoi_token_id=tokenizer.convert_tokens_to_ids("<end_of_image>"),
    )
    model = Gemma3ForConditionalGeneration(config)
    # the projection of image features starts as zeros
    torch.nn.init.normal_(model.model.multi_modal_projector.mm_input_projection_weight, std=0.2)
    processor = Gemma3ImageProcessorPil(**PROCESSOR | dict(processor))
    return model, Gemma3(config, tokenizer, processor)

"""InternVL3: tiles of 36 pixels, 3 x 3 tokens each, and the whole image if there are several."""

from transformers import InternVLConfig, InternVLForConditionalGeneration
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

from headimpact.models.internvl import InternVL
from tiny_families import GREY, text_config, tokenizer_with

TEMPLATE = (
    "{% for message in messages %}<|im_start|>{{ message['role'] }}\n"
    "{% for content in message['content'] %}{% if content['type'] == 'image' %}<IMG_CONTEXT>\n"
    "{% else %}{{ content['text'] }}{% endif %}{% endfor %}<|im_end|>\n{% endfor %}"
)
SPECIAL = ["<|im_start|>", "<|im_end|>", "<img>", "</img>", "<IMG_CONTEXT>", "<video>"]
PROCESSOR_SETTINGS = [{"max_patches": 1}]


def make():
    tokenizer = tokenizer_with(SPECIAL, TEMPLATE)
    vision = {
        "hidden_size": 64,
        "intermediate_size": 96,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "patch_size": 6,
        "image_size": 36,
        "initializer_range": 0.1,
    }
    config = InternVLConfig(
        text_config=text_config(tokenizer, model_type="qwen2"),
        vision_config=vision,
        image_token_id=tokenizer.convert_tokens_to_ids("<IMG_CONTEXT>"),
        image_seq_length=9,
        tie_word_embeddings=False,
    )
    processor = GotOcr2ImageProcessorPil(size={"height": 36, "width": 36}, **GREY)
    return InternVLForConditionalGeneration(config), InternVL(config, tokenizer, processor)

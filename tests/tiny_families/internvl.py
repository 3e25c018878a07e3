"""InternVL3: tiles of 36 pixels, 3 x 3 tokens each, and the whole image if there are several."""

from transformers import InternVLConfig, InternVLForConditionalGeneration, InternVLProcessor
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import GotOcr2ImageProcessorPil

from headimpact.models.internvl import InternVL
from tiny_families import GREY, NO_VIDEOS, text_config, tokenizer_with

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


def checkpoint(**text):
    """A published config.json, as far as parameters depend on it; the sizes are from memory."""
    vision = {
        **{"hidden_size": 1024, "intermediate_size": 4096, "num_hidden_layers": 24},
        **{"num_attention_heads": 16, "patch_size": [14, 14], "image_size": [448, 448]},
        "attention_bias": True,
    }
    return {
        "model_type": "internvl",
        "text_config": {"model_type": "qwen2", "vocab_size": 151674, **text},
        "vision_config": vision,
        "tie_word_embeddings": False,
    }


CHECKPOINTS = {
    "InternVL3-1B-hf": (
        checkpoint(
            **{"hidden_size": 896, "intermediate_size": 4864, "num_hidden_layers": 24},
            **{"num_attention_heads": 14, "num_key_value_heads": 2},
        ),
        938_193_024,
    ),
    "InternVL3-2B-hf": (
        checkpoint(
            **{"hidden_size": 1536, "intermediate_size": 8960, "num_hidden_layers": 28},
            **{"num_attention_heads": 12, "num_key_value_heads": 2},
        ),
        2_088_957_440,
    ),
    "InternVL3-8B-hf": (
        checkpoint(
            **{"hidden_size": 3584, "intermediate_size": 18944, "num_hidden_layers": 28},
            **{"num_attention_heads": 28, "num_key_value_heads": 4},
        ),
        7_944_373_760,
    ),
}


def own_processor(family, monkeypatch):
    names = {"start_image": "<img>", "end_image": "</img>", "context_image": "<IMG_CONTEXT>"}
    for name, text in (names | {"video": "<video>"}).items():
        token_id = family.tokenizer.convert_tokens_to_ids(text)
        monkeypatch.setattr(family.tokenizer, f"{name}_token", text, raising=False)
        monkeypatch.setattr(family.tokenizer, f"{name}_token_id", token_id, raising=False)
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

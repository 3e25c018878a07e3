"""Qwen2.5-VL: patches of 6 pixels, merged 2 x 2, with attention in windows of 4 x 4 tokens."""

from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_5_vl.processing_qwen2_5_vl import Qwen2_5_VLProcessor
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from headimpact.miniature.tokenizers import make_tokenizer
from headimpact.models.qwen2_5_vl import Qwen25VL
from tiny_families import GREY, NO_VIDEOS, text_config

VISION = {
    "depth": 2,
    "hidden_size": 64,
    "intermediate_size": 96,
    "num_heads": 4,
    "out_hidden_size": 96,
    "patch_size": 6,
    "spatial_merge_size": 2,
    "window_size": 48,
    "fullatt_block_indexes": [1],
    "initializer_range": 0.1,
}
PROCESSOR = {
    "patch_size": 6,
    "merge_size": 2,
    "size": {"shortest_edge": 48 * 48, "longest_edge": 144 * 144},
    **GREY,
}
PUBLISHED_IMAGES = [
    (
        {
            "vision": {"patch_size": 14, "window_size": 112},
            "processor": {
                "patch_size": 14,
                "size": {"shortest_edge": 56 * 56, "longest_edge": 28 * 28 * 16384},
            },
        },
        [391, 529, 35, 345],
    )
]


def token_ids(tokenizer):
    """The ids that the configurations of Qwen's models name."""
    texts = {"image": "image_pad", "video": "video_pad"}
    texts |= {"vision_start": "vision_start", "vision_end": "vision_end"}
    return {
        f"{name}_token_id": tokenizer.convert_tokens_to_ids(f"<|{text}|>")
        for name, text in texts.items()
    }


def own_processor(family, _monkeypatch):
    return Qwen2_5_VLProcessor(family.image_processor, family.tokenizer, NO_VIDEOS)


def make(vision=(), processor=()):
    tokenizer = make_tokenizer("qwen2_vl")
    text = text_config(tokenizer)
    text["rope_parameters"]["mrope_section"] = [4, 4, 4]
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=VISION | dict(vision),
        **token_ids(tokenizer),
        tie_word_embeddings=True,
    )
    processor = Qwen2VLImageProcessorPil(**PROCESSOR | dict(processor))
    return Qwen2_5_VLForConditionalGeneration(config), Qwen25VL(config, tokenizer, processor)

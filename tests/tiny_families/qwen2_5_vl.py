"""Qwen2.5-VL: patches of 6 pixels, merged 2 x 2, with attention in windows of 4 x 4 tokens."""

from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil

from headimpact.miniature.tokenizers import make_tokenizer
from headimpact.models.qwen2_5_vl import Qwen25VL
from tiny_families import GREY, text_config


def make():
    tokenizer = make_tokenizer("qwen2_vl")
    text = text_config(tokenizer)
    text["rope_parameters"]["mrope_section"] = [4, 4, 4]
    vision = {
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
    config = Qwen2_5_VLConfig(
        text_config=text,
        vision_config=vision,
        image_token_id=tokenizer.convert_tokens_to_ids("<|image_pad|>"),
        video_token_id=tokenizer.convert_tokens_to_ids("<|video_pad|>"),
        vision_start_token_id=tokenizer.convert_tokens_to_ids("<|vision_start|>"),
        vision_end_token_id=tokenizer.convert_tokens_to_ids("<|vision_end|>"),
        tie_word_embeddings=True,
    )
    processor = Qwen2VLImageProcessorPil(
        patch_size=6,
        merge_size=2,
        size={"shortest_edge": 48 * 48, "longest_edge": 144 * 144},
        **GREY,
    )
    return Qwen2_5_VLForConditionalGeneration(config), Qwen25VL(config, tokenizer, processor)

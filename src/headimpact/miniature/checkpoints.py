"""Untrained miniature checkpoints: the paper's three classes, small, with their processors."""

import shutil
from pathlib import Path

import torch
from transformers import (
    Idefics3Config,
    Idefics3ForConditionalGeneration,
    PaliGemmaConfig,
    PaliGemmaForConditionalGeneration,
    Qwen2VLConfig,
    Qwen2VLForConditionalGeneration,
)
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from headimpact.checkpoints import write_sums
from headimpact.miniature.tokenizers import make_tokenizer
from headimpact.models.family import Family
from headimpact.models.idefics3 import Idefics3
from headimpact.models.paligemma2 import PaliGemma2
from headimpact.models.qwen2_vl import Qwen2VL

DECODER = {
    "hidden_size": 96,
    "intermediate_size": 192,
    "num_hidden_layers": 16,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "initializer_range": 0.05,
    "max_position_embeddings": 1024,
}
VISION = {"num_attention_heads": 4, "num_hidden_layers": 3, "initializer_range": 0.05}
GREY = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def _text(tokenizer, **more):
    ids = {
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
    }
    rope = {"rope_type": "default", "rope_theta": 1e4}
    return {**DECODER, **ids, "rope_parameters": rope, **more}


def paligemma2() -> tuple[PaliGemmaForConditionalGeneration, PaliGemma2]:
    """PaliGemma with a Gemma2 decoder: 9 x 9 tokens of 12 pixels; soft-capping is on."""
    tokenizer = make_tokenizer("paligemma2")
    text = _text(
        tokenizer,
        model_type="gemma2",
        head_dim=24,
        query_pre_attn_scalar=24,
        sliding_window=1024,
    )
    vision = {
        **VISION,
        "model_type": "siglip_vision_model",
        "hidden_size": 64,
        "intermediate_size": 128,
        "patch_size": 12,
        "image_size": 108,
        "projection_dim": 96,
        "vision_use_head": False,
    }
    config = PaliGemmaConfig(
        text_config=text,
        vision_config=vision,
        projection_dim=96,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    processor = SiglipImageProcessorPil(size={"height": 108, "width": 108})
    return PaliGemmaForConditionalGeneration(config), PaliGemma2(config, tokenizer, processor)


def qwen2_vl() -> tuple[Qwen2VLForConditionalGeneration, Qwen2VL]:
    """Qwen2-VL: patches of 6 pixels, merged 2 x 2; M-RoPE; any size up to 12 x 12 tokens."""
    tokenizer = make_tokenizer("qwen2_vl")
    text = _text(tokenizer)
    text["rope_parameters"]["mrope_section"] = [4, 4, 4]
    vision = {
        "depth": VISION["num_hidden_layers"],
        "num_heads": VISION["num_attention_heads"],
        "initializer_range": VISION["initializer_range"],
        "embed_dim": 64,
        "hidden_size": 96,
        "mlp_ratio": 2,
        "patch_size": 6,
        "spatial_merge_size": 2,
        "rope_parameters": {"rope_type": "axial", "rope_theta": 100.0},
    }
    config = Qwen2VLConfig(
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
    return Qwen2VLForConditionalGeneration(config), Qwen2VL(config, tokenizer, processor)


def idefics3() -> tuple[Idefics3ForConditionalGeneration, Idefics3]:
    """Idefics3 as SmolVLM has it: tiles of 36 pixels and the whole image, pixel shuffle 3."""
    tokenizer = make_tokenizer("idefics3")
    vision = {
        **VISION,
        "hidden_size": 64,
        "intermediate_size": 128,
        "patch_size": 4,
        "image_size": 36,
    }
    config = Idefics3Config(
        text_config=_text(tokenizer, model_type="llama"),
        vision_config=vision,
        scale_factor=3,
        image_token_id=tokenizer.convert_tokens_to_ids("<image>"),
        pad_token_id=tokenizer.pad_token_id,
        tie_word_embeddings=True,
    )
    processor = Idefics3ImageProcessorPil(
        size={"longest_edge": 108}, max_image_size={"longest_edge": 36}
    )
    return Idefics3ForConditionalGeneration(config), Idefics3(config, tokenizer, processor)


def scale_residuals(model: torch.nn.Module, family: Family) -> None:
    """Divide what each decoder layer adds to the residual stream by sqrt(2 layers), as GPT-2 does.

    Without it, decoders of 16 layers lose in the first lessons what the vision tower has learned.
    """
    layers = model.get_submodule(family.decoder).layers
    with torch.no_grad():
        for layer in layers:
            for projection in (layer.self_attn.o_proj, layer.mlp.down_proj):
                projection.weight /= (2 * len(layers)) ** 0.5


MAKERS = {"paligemma2": paligemma2, "qwen2_vl": qwen2_vl, "idefics3": idefics3}


def save(folder: str | Path, model: torch.nn.Module, family: Family) -> None:
    """Write a Hugging Face folder that the Auto classes load, weights as safetensors."""
    model.save_pretrained(folder)
    family.tokenizer.save_pretrained(folder)
    family.image_processor.save_pretrained(folder)


def publish(stage: str | Path, folder: str | Path) -> None:
    """Copy the checkpoint of a finished stage to a new folder, with its SHA256SUMS."""
    shutil.copytree(stage, folder, ignore=shutil.ignore_patterns("done"))
    write_sums(folder)

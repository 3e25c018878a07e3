"""The paper's three architectures with random weights, and the miniature checkpoints.

Scales: `full`, as published; `eighth`, everything an eighth as wide and a quarter as deep; `small`,
a decoder of the miniatures' size; both with the published image processing, and so with the real
number of image tokens; `miniature`, the shipped checkpoints. Random weights cost as much time and
memory as trained ones. All have the miniatures' tokenizers.
"""

import shutil
from pathlib import Path

import torch
from transformers import AutoConfig, AutoModelForImageTextToText

from headimpact.miniature.checkpoints import DECODER
from headimpact.miniature.tokenizers import make_tokenizer
from headimpact.models.family import Family
from headimpact.models.load import family_class, load_family, load_model

RESOURCES = Path(__file__).parents[1] / "resources"
# title in the paper: published configuration, miniature checkpoint
MODELS = {
    "PaliGemma2": ("paligemma2-3b-mix-448", "paligemma2"),
    "Qwen2-VL": ("qwen2-vl-2b-instruct", "qwen2_vl"),
    "SmolVLM": ("smolvlm-instruct", "idefics3"),
}
SCALES = ("full", "eighth", "small", "miniature")


def build(
    title: str, scale: str, folder: Path, device: str, dtype: str
) -> tuple[torch.nn.Module, Family]:
    """Model and Family of one of MODELS; a checkpoint without weights is written to `folder`."""
    if scale == "miniature":
        checkpoint = RESOURCES / "miniature" / MODELS[title][1]
        return load_model(checkpoint, dtype, device), load_family(checkpoint)
    family = build_family(title, scale, folder)
    torch.manual_seed(0)
    with torch.device(device):
        model = AutoModelForImageTextToText.from_config(
            AutoConfig.from_pretrained(folder), dtype=getattr(torch, dtype)
        )
    return model.eval(), family


def build_family(title: str, scale: str, folder: Path) -> Family:
    """The Family of one of MODELS, at a scale but `miniature`; `folder`: as for `build`."""
    published, miniature = MODELS[title]
    shutil.copytree(RESOURCES / "configurations" / published, folder, dirs_exist_ok=True)
    config = AutoConfig.from_pretrained(folder)
    tokenizer = make_tokenizer(miniature)
    image_text = family_class(config, folder).image_text
    config.image_token_id = tokenizer.convert_tokens_to_ids(image_text)
    if scale != "full":
        _resize(config, *(_eighth(config) if scale == "eighth" else _small()))
    config.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return load_family(folder)


def _eighth(config):
    """An eighth of every width, by heads of half the size and a quarter of their number."""
    text, vision = config.get_text_config().to_dict(), config.vision_config.to_dict()
    size = text.get("head_dim") or text["hidden_size"] // text["num_attention_heads"]
    widths = {"hidden_size", "intermediate_size", "vocab_size", "embed_dim"}
    numbers = {"num_attention_heads", "num_key_value_heads", "num_hidden_layers"}
    numbers |= {"num_heads", "depth"}

    def smaller(sizes):
        narrow = {name: sizes[name] // 8 for name in widths & sizes.keys()}
        return narrow | {name: max(sizes[name] // 4, 1) for name in numbers & sizes.keys()}

    return smaller(text) | {"head_dim": size // 2}, smaller(vision)


def _small():
    """The miniatures' decoder and vision tower."""
    tower = {"hidden_size": 64, "embed_dim": 64, "intermediate_size": 128, "mlp_ratio": 2}
    tower |= {"depth": 3, "num_hidden_layers": 3, "num_heads": 4, "num_attention_heads": 4}
    return {**DECODER, "vocab_size": 512, "head_dim": 24}, tower


def _resize(config, text, tower):
    """Set the sizes of a configuration, and the values that depend on them."""
    decoder, vision = config.get_text_config(), config.vision_config
    size, layers = text.pop("head_dim"), text["num_hidden_layers"]
    for name in text.keys() - {"initializer_range", "max_position_embeddings"}:
        setattr(decoder, name, text[name])
    for name in tower.keys() & vision.to_dict().keys():
        setattr(vision, name, tower[name])
    for name in {"head_dim", "query_pre_attn_scalar"} & decoder.to_dict().keys():
        setattr(decoder, name, size)
    if "mrope_section" in decoder.rope_parameters:
        third = size // 6
        decoder.rope_parameters["mrope_section"] = [size // 2 - 2 * third, third, third]
        vision.hidden_size = decoder.hidden_size  # the merged patches' width
    if "layer_types" in decoder.to_dict():
        decoder.layer_types = decoder.layer_types[:layers]
    if hasattr(config, "projection_dim"):
        config.projection_dim = vision.projection_dim = decoder.hidden_size

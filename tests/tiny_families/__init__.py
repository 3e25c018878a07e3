"""Tiny random models of the families that have no miniature, one module a family.

A module has `make()`, which returns a model of the real class and its Family, with the family's own
PIL image processor. Its optional PROCESSOR_SETTINGS are further settings of the image processor,
such as images without tiles.
"""

from importlib import import_module
from pkgutil import iter_modules

import torch

from headimpact.miniature.tokenizers import make_tokenizer

NAMES = sorted(module.name for module in iter_modules(__path__))
GREY = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def make(name):
    """The model and the Family of that module, in evaluation mode, the same at every call."""
    torch.manual_seed(0)
    model, family = import_module(f"tiny_families.{name}").make()
    return model.eval(), family


def families(name, family):
    """The Family, and one for each of the module's PROCESSOR_SETTINGS."""
    module = import_module(f"tiny_families.{name}")
    changed = [
        type(family)(
            family.config,
            family.tokenizer,
            type(family.image_processor)(**family.image_processor.to_dict() | settings),
        )
        for settings in getattr(module, "PROCESSOR_SETTINGS", [])
    ]
    return [family, *changed]


def tokenizer_with(special, chat_template):
    """A tokenizer of the miniatures' words with other special tokens and another template."""
    tokenizer = make_tokenizer("paligemma2")
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    tokenizer.chat_template = chat_template
    return tokenizer


def text_config(tokenizer, **more):
    """A decoder's configuration: three layers, four heads that share two keys and values."""
    return {
        "hidden_size": 96,
        "intermediate_size": 128,
        "num_hidden_layers": 3,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "head_dim": 24,
        # so large that the image and the positions decide much of what a random model predicts
        "initializer_range": 0.1,
        "max_position_embeddings": 2048,
        "rope_parameters": {"rope_type": "default", "rope_theta": 1e4},
        "vocab_size": len(tokenizer),
        "bos_token_id": tokenizer.bos_token_id,
        "eos_token_id": tokenizer.eos_token_id,
        "pad_token_id": tokenizer.pad_token_id,
        **more,
    }

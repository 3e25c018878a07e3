"""Tiny random models of the families that have no miniature, one module a family.

A module has `make`, which returns a model of the real class and its Family, with the family's own
PIL image processor, and may have:

PROCESSOR_SETTINGS: further settings of the image processor, such as images without tiles.
PUBLISHED_IMAGES: (settings, tokens), arguments of `make` with which patches and tiles have the
sizes of a published checkpoint, and how many image tokens images of 640x480, 640x640, 200x145 and
427x640 have then.
own_processor: a function (family, monkeypatch) that returns the family's processor of transformers.
"""

from importlib import import_module
from pkgutil import iter_modules
from types import SimpleNamespace

import torch

from headimpact.miniature.tokenizers import make_tokenizer

NAMES = sorted(module.name for module in iter_modules(__path__))
# in the place of a video processor, which needs torchvision
NO_VIDEOS = SimpleNamespace(model_input_names=[], num_frames=1, fps=1)
GREY = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}


def make(name, **settings):
    """The model and the Family of that module, in evaluation mode, the same at every call."""
    torch.manual_seed(0)
    model, family = MODULES[name].make(**settings)
    return model.eval(), family


def families(name, family):
    """The Family, and one for each of the module's PROCESSOR_SETTINGS."""
    processor = family.image_processor
    changed = [
        type(family)(
            family.config, family.tokenizer, type(processor)(**processor.to_dict() | settings)
        )
        for settings in getattr(MODULES[name], "PROCESSOR_SETTINGS", [])
    ]
    return [family, *changed]


def tokenizer_with(special, chat_template):
    """A tokenizer of the miniatures' words with other special tokens and another template."""
    tokenizer = make_tokenizer("paligemma2")
    tokenizer.add_special_tokens({"additional_special_tokens": special})
    tokenizer.chat_template = chat_template
    return tokenizer


def name_tokens(monkeypatch, tokenizer, texts):
    """Give a tokenizer the attributes NAME_token and NAME_token_id of {name: text}."""
    for name, text in texts.items():
        token_id = tokenizer.convert_tokens_to_ids(text)
        monkeypatch.setattr(tokenizer, f"{name}_token", text, raising=False)
        monkeypatch.setattr(tokenizer, f"{name}_token_id", token_id, raising=False)


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


MODULES = {name: import_module(f"tiny_families.{name}") for name in NAMES}
PUBLISHED_IMAGES = [
    (name, settings, tokens)
    for name, module in MODULES.items()
    for settings, tokens in getattr(module, "PUBLISHED_IMAGES", [])
]

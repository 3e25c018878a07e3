"""A checkpoint's family and model, from its folder."""

import torch
from tokenizers import AddedToken
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoTokenizer,
)

from headimpact.guards import UserError
from headimpact.models.chat import chat_template
from headimpact.models.idefics3 import Idefics3
from headimpact.models.paligemma2 import PaliGemma2
from headimpact.models.qwen2_vl import Qwen2VL
from headimpact.models.weights import load_weights, read_checkpoint

FAMILIES = {family.model_type: family for family in (PaliGemma2, Qwen2VL, Idefics3)}


def load_family(folder):
    """The Family of a checkpoint's folder: configuration, tokenizer, image processor.

    Raises ValueError if no file of headimpact.models knows its model type, if one of its files
    cannot be read, or if configuration and tokenizer do not belong together.
    """
    config = read_checkpoint(AutoConfig, folder)
    family = family_of(config, folder)
    tokenizer = read_checkpoint(AutoTokenizer, folder)
    tokenizer.chat_template = chat_template(folder) or tokenizer.chat_template
    # as the family's own processor does where a tokenizer does not bring it
    tokenizer.add_tokens(AddedToken(family.image_text, normalized=False, special=True))
    if tokenizer.convert_tokens_to_ids(family.image_text) != config.image_token_id:
        raise UserError(
            f"{folder}: {family.image_text} is not token {config.image_token_id} of its tokenizer, "
            f"as config.json says; get the checkpoint's own tokenizer"
        )
    # the PIL backend computes the same on every machine and needs no torchvision
    processor = read_checkpoint(AutoImageProcessor, folder, backend="pil")
    return family(config, tokenizer, processor)


def family_of(config, name):
    """The Family class of a configuration; ValueError, with the checkpoint's `name`, if none."""
    if config.model_type not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise UserError(f"{name}: model type {config.model_type} is none of {known}")
    return FAMILIES[config.model_type]


def load_model(folder, dtype="float32", device="cpu"):
    """The model of a checkpoint's folder, see `load_weights`."""
    return load_weights(AutoModelForImageTextToText, folder, dtype, device)


def device_of(wanted):
    """The torch device name for "auto", "cpu" or "cuda"; ValueError for a GPU that is not there."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError("device: cuda: torch finds no GPU here; set device: auto or cpu")
    if wanted != "auto":
        return wanted
    return "cuda" if torch.cuda.is_available() else "cpu"


def dtype_of(wanted, device):
    """The dtype name for "auto" (bfloat16 on a GPU, float32 on a CPU) or a name."""
    if wanted != "auto":
        return wanted
    return "bfloat16" if device == "cuda" else "float32"


def count_parameters(configuration):
    """Parameters, layers and attention heads of a model, from its configuration alone.

    configuration: a checkpoint's folder or its config.json. Returns the model on torch's meta
    device, with tied weights, and these counts (dict).
    """
    config = read_checkpoint(AutoConfig, configuration)
    family_of(config, configuration)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, trust_remote_code=False)
    model.tie_weights()
    text = config.get_text_config()
    return model, {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "layers": text.num_hidden_layers,
        "heads": text.num_attention_heads,
    }


def load(folder, identity):
    """Model and Family of what `locate.locate` gave."""
    model = load_model(folder, identity["dtype"], identity["device"])
    # an adapter keeps its base model's name: the checkpoint's, not a place on this machine
    model.name_or_path = model.config._name_or_path = identity["checkpoint"]
    return model, load_family(folder)

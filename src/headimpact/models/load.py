"""A checkpoint's family and model, from its folder."""

from pathlib import Path

import torch
from tokenizers import AddedToken
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoTokenizer,
    PreTrainedConfig,
)

from headimpact import registry
from headimpact.guards import UserError
from headimpact.models.chat import chat_template
from headimpact.models.family import Family
from headimpact.models.weights import load_weights, read_checkpoint


def load_family(folder: str | Path) -> Family:
    """The Family of a checkpoint's folder: configuration, tokenizer, image processor.

    Raises UserError if no family of the registry has its model type, if one of its files cannot be
    read, or if configuration and tokenizer do not belong together.
    """
    config = read_checkpoint(AutoConfig, folder)
    family = family_class(config, folder)
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


def family_class(config, checkpoint) -> type[Family]:
    """The Family class for a configuration; raises UserError, with the checkpoint, if none."""
    name = registry.family_of(config.model_type)
    if name is None:
        known = sorted(t for entry in registry.FAMILIES.values() for t in entry.model_types)
        raise UserError(
            f"{checkpoint}: model type {config.model_type} is not one of {', '.join(known)}; name "
            f"another checkpoint"
        )
    return registry.FAMILIES[name].load()


def load_model(folder: str | Path, dtype: str = "float32", device: str = "cpu") -> torch.nn.Module:
    """The model of a checkpoint's folder, see `load_weights`."""
    return load_weights(AutoModelForImageTextToText, folder, dtype, device)


def load_config(configuration: str | Path) -> PreTrainedConfig:
    """The configuration of a checkpoint's folder, or of its config.json.

    Where the configuration does not say whether the output layer has the weights of the embeddings,
    that of its decoder does, as before transformers 5; InternVL's class would take True for it.
    """
    config = read_checkpoint(AutoConfig, configuration)
    written, _ = PreTrainedConfig.get_config_dict(configuration)
    text, name = config.get_text_config(), "tie_word_embeddings"
    if name not in written and hasattr(text, name):
        config.tie_word_embeddings = text.tie_word_embeddings
    return config


def load_untrained_model(
    folder: str | Path, seed: int, dtype: str = "float32", device: str = "cpu"
) -> torch.nn.Module:
    """A model of a checkpoint's configuration with random weights, as its class draws them."""
    config = load_config(folder)
    torch.manual_seed(seed)
    model = AutoModelForImageTextToText.from_config(
        config, dtype=getattr(torch, dtype), trust_remote_code=False
    )
    return model.eval().to(device)


def resolve_device(wanted: str) -> str:
    """The torch device name for "auto", "cpu" or "cuda"; ValueError for a GPU that is not there."""
    if wanted == "cuda" and not torch.cuda.is_available():
        raise UserError("device: cuda: torch finds no GPU here; set device: auto or cpu")
    if wanted != "auto":
        return wanted
    return "cuda" if torch.cuda.is_available() else "cpu"


def resolve_dtype(wanted: str, device: str) -> str:
    """The dtype name for "auto" (bfloat16 on a GPU, float32 on a CPU) or a name."""
    if wanted != "auto":
        return wanted
    return "bfloat16" if device == "cuda" else "float32"


def count_parameters(configuration: str | Path) -> tuple[torch.nn.Module, dict[str, int]]:
    """Parameters, layers and attention heads of a model, from its configuration alone.

    configuration: a checkpoint's folder or its config.json. Returns the model on torch's meta
    device, with tied weights, and these counts (dict).
    """
    config = load_config(configuration)
    family_class(config, configuration)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config, trust_remote_code=False)
    model.tie_weights()
    text = config.get_text_config()
    return model, {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "layers": text.num_hidden_layers,
        "heads": text.num_attention_heads,
    }


def decoder_depth(folder: str | Path) -> int:
    """How many layers the decoder of a checkpoint has, its class's default if it does not say."""
    return read_checkpoint(AutoConfig, folder).get_text_config().num_hidden_layers

"""A checkpoint's family and model, from a folder or a hub id."""

import torch
from transformers import (
    AutoConfig,
    AutoImageProcessor,
    AutoModelForImageTextToText,
    AutoTokenizer,
)

from headimpact.models.idefics3 import Idefics3
from headimpact.models.paligemma2 import PaliGemma2
from headimpact.models.qwen2_vl import Qwen2VL

FAMILIES = {family.model_type: family for family in (PaliGemma2, Qwen2VL, Idefics3)}


def load_family(checkpoint, revision=None):
    """The Family of a checkpoint (folder or hub id): configuration, tokenizer, image processor.

    Raises ValueError if no file of headimpact.models knows its model type.
    """
    config = AutoConfig.from_pretrained(checkpoint, revision=revision)
    if config.model_type not in FAMILIES:
        known = ", ".join(sorted(FAMILIES))
        raise ValueError(f"{checkpoint}: model type {config.model_type} is none of {known}")
    tokenizer = AutoTokenizer.from_pretrained(checkpoint, revision=revision)
    # the PIL backend computes the same on every machine and needs no torchvision
    processor = AutoImageProcessor.from_pretrained(checkpoint, revision=revision, backend="pil")
    return FAMILIES[config.model_type](config, tokenizer, processor)


def load_model(checkpoint, revision=None, dtype="float32", device="cpu"):
    """The model, in evaluation mode; safetensors only, never code from the checkpoint."""
    model = AutoModelForImageTextToText.from_pretrained(
        checkpoint, revision=revision, dtype=dtype, use_safetensors=True
    )
    return model.to(device).eval()


def device_of(wanted):
    """The torch device name for "auto", "cpu" or "cuda"."""
    if wanted != "auto":
        return wanted
    return "cuda" if torch.cuda.is_available() else "cpu"


def dtype_of(wanted, device):
    """The dtype name for "auto" (bfloat16 on a GPU, float32 on a CPU) or a name."""
    if wanted != "auto":
        return wanted
    return "bfloat16" if device == "cuda" else "float32"


def count_parameters(checkpoint, revision=None):
    """Parameters, layers and attention heads of a checkpoint, from its configuration alone.

    Returns the model on torch's meta device, with tied weights, and these counts (dict).
    """
    config = AutoConfig.from_pretrained(checkpoint, revision=revision)
    with torch.device("meta"):
        model = AutoModelForImageTextToText.from_config(config)
    model.tie_weights()
    text = config.get_text_config()
    return model, {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "layers": text.num_hidden_layers,
        "heads": text.num_attention_heads,
    }


def load(entry):
    """Model and Family of one model of a study: checkpoint, revision, dtype, device (dict)."""
    device = device_of(entry["device"])
    family = load_family(entry["checkpoint"], entry["revision"])
    dtype = dtype_of(entry["dtype"], device)
    return load_model(entry["checkpoint"], entry["revision"], dtype, device), family


def load_adapter(model, folder):
    """`model` with the PEFT adapter of `folder` in its layers, in evaluation mode."""
    from peft import PeftModel  # two seconds that only an adapter needs

    return PeftModel.from_pretrained(model, folder).get_base_model().eval()

"""LoRA adapters: added to chosen decoder layers, loaded, and checked by their digest."""

import json
import re
from hashlib import sha256
from pathlib import Path

import torch

from headimpact.guards import UserError
from headimpact.models.family import Family

FILES = ("adapter_config.json", "adapter_model.safetensors")


def add_adapter(
    model: torch.nn.Module,
    family: Family,
    layers: list[int],
    *,
    rank: int,
    alpha: int,
    dropout: float,
    targets: list[str],
) -> torch.nn.Module:
    """`model` as a PEFT model with LoRA on the attention projections of these decoder layers.

    targets: names of projections. Raises UserError unless exactly those modules are adapted.
    """
    from peft import LoraConfig, get_peft_model  # its import takes two seconds

    names = "|".join(map(re.escape, targets))
    numbers = "|".join(str(layer) for layer in layers)
    # the full path: the vision tower's layers have the same numbers and projections
    pattern = rf"{re.escape(family.decoder)}\.layers\.({numbers})\.self_attn\.({names})"
    config = LoraConfig(
        r=rank,
        lora_alpha=alpha,
        lora_dropout=dropout,
        bias="none",
        target_modules=pattern,
    )
    adapted = get_peft_model(model, config)
    count, expected = len(adapted.targeted_module_names), len(layers) * len(targets)
    if count != expected:
        raise UserError(f"LoRA met {count} modules, not {expected}; check methods: targets")
    return adapted


def load_adapter(model: torch.nn.Module, folder: str | Path) -> torch.nn.Module:
    """`model` as a PEFT model with the adapter in `folder`, in evaluation mode.

    The model's own modules are replaced in place; the PEFT model's `unload()` undoes it. Raises
    UserError if a file of the adapter is missing.
    """
    from peft import PeftModel

    _adapter_files(folder)
    return PeftModel.from_pretrained(model, folder).eval()


def adapter_digest(folder: str | Path) -> str:
    """SHA-256 of an adapter's configuration and weights. Raises UserError if a file is missing."""
    return sha256(b"".join(path.read_bytes() for path in _adapter_files(folder))).hexdigest()


def check_adapter(folder: str | Path, history: str | Path) -> None:
    """Raise UserError unless the adapter in `folder` is the one that was trained.

    history: the history.json that was written with it; its "adapter" is the adapter's digest.
    """
    try:
        digest = json.loads(Path(history).read_bytes())["adapter"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{history}: damaged ({error}); delete it and run again") from error
    if adapter_digest(folder) != digest:
        raise UserError(f"{folder}: not as it was trained; delete it and run again")


def _adapter_files(folder):
    """Paths of an adapter's files; without them PEFT would read a pickle or ask the hub."""
    paths = [Path(folder, name) for name in FILES]
    for path in paths:
        if not path.is_file():
            raise UserError(
                f"{path}: missing, and nothing else is read; delete {folder} and run again"
            )
    return paths

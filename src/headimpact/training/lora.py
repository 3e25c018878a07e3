"""LoRA adapters: put into chosen decoder layers, loaded again, told from altered ones."""

import json
import re
from contextlib import contextmanager, nullcontext
from functools import partial
from hashlib import sha256
from pathlib import Path

from headimpact.guards import UserError

FILES = ("adapter_config.json", "adapter_model.safetensors")


def add_adapter(model, family, layers, lora):
    """`model` as a PEFT model with LoRA on the attention of `layers` of its decoder alone.

    lora: rank, alpha, dropout and targets (names of projections, as in config.yaml).
    Raises ValueError if the adapted modules are not exactly those.
    """
    from peft import LoraConfig, get_peft_model  # two seconds that only an adapter needs

    names = "|".join(map(re.escape, lora["targets"]))
    numbers = "|".join(str(layer) for layer in layers)
    pattern = rf"{re.escape(family.decoder)}\.layers\.({numbers})\.self_attn\.({names})"
    config = LoraConfig(
        r=lora["rank"],
        lora_alpha=lora["alpha"],
        lora_dropout=lora["dropout"],
        bias="none",
        target_modules=pattern,
    )
    adapted = get_peft_model(model, config)
    found = len(adapted.targeted_module_names)
    wanted = len(layers) * len(lora["targets"])
    if found != wanted:
        raise UserError(f"LoRA met {found} modules, not {wanted}; check lora.targets")
    return adapted


def load_adapters(model, folders):
    """Put PEFT adapters into the layers of `model`, one of which, or none, acts at a time.

    folders: {name: folder, or None for the model without any}. Returns {name: a function that
    gives a context manager, within which the model is that one}. Raises ValueError for a folder
    without an adapter's files.
    """
    if not any(folders.values()):
        return dict.fromkeys(folders, nullcontext)
    from peft import PeftModel

    adapted, runs = None, {}
    for number, (name, folder) in enumerate(folders.items()):
        if folder is None:
            continue
        _find(folder)
        key = f"run{number}"  # a setup's name may hold what PEFT does not take
        if adapted is None:
            adapted = PeftModel.from_pretrained(model, folder, adapter_name=key)
        else:
            adapted.load_adapter(folder, adapter_name=key)
        runs[name] = partial(_acting, adapted, key)
    adapted.eval()
    return {name: runs.get(name, adapted.disable_adapter) for name in folders}


@contextmanager
def _acting(adapted, key):
    adapted.set_adapter(key, inference_mode=True)
    yield


def digest(folder):
    """What an adapter's folder holds (str), by its configuration and its weights' bytes."""
    return sha256(b"".join(path.read_bytes() for path in _find(folder))).hexdigest()


def _find(folder):
    """The files of an adapter. For one that is missing PEFT would read a pickle, or ask the hub."""
    paths = [Path(folder, name) for name in FILES]
    for path in paths:
        if not path.is_file():
            raise UserError(
                f"{path}: missing, and nothing else is read; delete {folder} and run again"
            )
    return paths


def check(folder, history):
    """Raise ValueError, with the mend, unless the adapter in `folder` is as it was trained.

    history: the history.json that was written with it, whose "adapter" is its `digest`.
    """
    try:
        told = json.loads(Path(history).read_bytes())["adapter"]
    except (ValueError, KeyError, TypeError) as error:
        raise UserError(f"{history}: damaged ({error}); delete it and run again") from error
    if digest(folder) != told:
        raise UserError(f"{folder}: not as it was trained; delete it and run again")

"""The state of an unfinished training on disk, from which it resumes after its last epoch."""

import hashlib
import json
import os
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from headimpact.guards import UserError


def save_state(
    path: str | Path,
    history: list[dict],
    weights: dict[str, torch.Tensor],
    best: dict[str, torch.Tensor],
    optimizer: torch.optim.Optimizer,
) -> None:
    """Write the state of a training, atomically, over an earlier one.

    history: a dict an epoch. weights, best: the trained weights, now and at the best epoch.
    optimizer: of those weights, in their order.
    """
    tensors = {f"weights.{name}": value for name, value in weights.items()}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    for number, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"moments.{number}.{name}": value for name, value in moments.items()}
    # safetensors refuses tensors that share memory
    tensors = {name: value.detach().cpu().clone() for name, value in tensors.items()}
    text = json.dumps(history)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    try:
        data = save(tensors, {"history": text, "digest": _digest(text, tensors)})
        partial.write_bytes(data)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def load_state(
    path: str | Path, weights: dict[str, torch.Tensor], optimizer: torch.optim.Optimizer
) -> tuple[list[dict], dict[str, torch.Tensor] | None]:
    """Resume from what `save_state` wrote: fills `weights` and `optimizer` in place.

    Returns the history and the weights of the best epoch; an empty history and None if there is no
    such file. Raises UserError if it is damaged.
    """
    if not Path(path).exists():
        return [], None
    try:
        with safe_open(path, framework="pt") as file:
            metadata = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if metadata["digest"] != _digest(metadata["history"], tensors):
            raise UserError("its contents are not what was written")
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: damaged ({error}); delete it and run again, the training starts over"
        ) from error
    for name, weight in weights.items():
        weight.data.copy_(tensors[f"weights.{name}"])
    moments = {}
    for name, value in tensors.items():
        kind, _, key = name.partition(".")
        if kind == "moments":
            number, _, moment = key.partition(".")
            moments.setdefault(int(number), {})[moment] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": moments, "param_groups": groups})
    return json.loads(metadata["history"]), {name: tensors[f"best.{name}"] for name in weights}


def _digest(history, tensors):
    digest = hashlib.sha256(history.encode())
    for name in sorted(tensors):
        digest.update(name.encode())
        digest.update(tensors[name].numpy().tobytes())
    return digest.hexdigest()

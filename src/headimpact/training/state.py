"""An unfinished training on disk: all that it goes on with after its last whole epoch."""

import hashlib
import json
import os
from pathlib import Path

from safetensors import SafetensorError, safe_open
from safetensors.torch import save

from headimpact.guards import UserError


def keep(path, history, weights, best, optimizer):
    """Write the state of a training, over an earlier one, whole or not at all.

    history: a dict an epoch. weights, best: {name: tensor}, now and at the best epoch. optimizer:
    torch's, of those weights in their order.
    """
    tensors = {f"weights.{name}": value for name, value in weights.items()}
    tensors |= {f"best.{name}": value for name, value in best.items()}
    for number, moments in optimizer.state_dict()["state"].items():
        tensors |= {f"moments.{number}.{name}": value for name, value in moments.items()}
    # no two names may share memory
    tensors = {name: value.detach().cpu().clone() for name, value in tensors.items()}
    told = json.dumps(history)
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(f"{path.name}.partial")
    try:
        data = save(tensors, {"history": told, "digest": _digest(told, tensors)})
        partial.write_bytes(data)
        os.replace(partial, path)
    finally:
        partial.unlink(missing_ok=True)


def kept(path, weights, optimizer):
    """Go on from what `keep` wrote: fills `weights` and `optimizer`; returns history and best.

    Without such a file the history is empty, best None. Raises ValueError, naming the file and
    the mend, if it is damaged.
    """
    if not Path(path).exists():
        return [], None
    try:
        with safe_open(path, framework="pt") as file:
            told = file.metadata()
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        if told["digest"] != _digest(told["history"], tensors):
            raise UserError("its contents are not what was written")
    except (SafetensorError, ValueError, KeyError, TypeError) as error:
        raise UserError(
            f"{path}: damaged ({error}); delete it and run again, the training starts anew"
        ) from error
    for name, weight in weights.items():
        weight.data.copy_(tensors[f"weights.{name}"])
    state = {}
    for name, value in tensors.items():
        part, _, rest = name.partition(".")
        if part == "moments":
            number, _, moment = rest.partition(".")
            state.setdefault(int(number), {})[moment] = value
    groups = optimizer.state_dict()["param_groups"]
    optimizer.load_state_dict({"state": state, "param_groups": groups})
    return json.loads(told["history"]), {name: tensors[f"best.{name}"] for name in weights}


def _digest(history, tensors):
    found = hashlib.sha256(history.encode())
    for name in sorted(tensors):
        found.update(name.encode())
        found.update(tensors[name].numpy().tobytes())
    return found.hexdigest()

"""Reads a checkpoint's files with transformers, without running any code of the checkpoint."""

from pathlib import Path
from typing import Any

import torch

from headimpact.guards import UserError


def read_checkpoint(auto_class: type, folder: str | Path, **options) -> Any:
    """The object that `auto_class` of transformers loads from a checkpoint's folder.

    No code of a checkpoint is run, and transformers does not prompt whether to run it. Raises
    UserError, naming the folder, for files that cannot be read.
    """
    try:
        return auto_class.from_pretrained(folder, trust_remote_code=False, **options)
    except MemoryError:
        raise
    except Exception as error:  # which class depends on the file and on how it is damaged
        # after its first line, transformers advises to run the checkpoint's code, or to install
        # another transformers
        reason = " ".join(str(error).partition("\n")[0].split())
        raise UserError(
            f"{folder}: not a checkpoint that {auto_class.__name__} reads ({reason}); download it "
            f"again or name another, no code of a checkpoint is run"
        ) from error


def load_weights(
    model_class: type, folder: str | Path, dtype: str = "float32", device: str = "cpu"
) -> torch.nn.Module:
    """The checkpoint in `folder` as a `model_class` in evaluation mode.

    Reads safetensors only. Raises UserError if they are damaged, or if weights of the model are
    missing, which transformers would initialise at random.
    """
    model, report = read_checkpoint(
        model_class, folder, dtype=dtype, use_safetensors=True, output_loading_info=True
    )
    missing = sorted(report["missing_keys"])
    if missing:
        raise UserError(
            f"{folder}: {len(missing)} weights of {type(model).__name__} are missing, among "
            f"them {missing[0]}; name another checkpoint"
        )
    return model.to(device).eval()

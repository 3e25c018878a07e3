"""temporary"""

import json
import re
from pathlib import Path

from headimpact.guards import UserError


def is_local(c):
    return Path(c).is_dir()


def check_name(where, c):
    if c.startswith((".", "/", "resources/")) and not is_local(c):
        raise UserError(f"{where}: no folder {c}; correct the path or give a hub id")
    if not is_local(c) and not re.fullmatch(r"[\w.-]+/[\w.-]+", c, re.ASCII):
        raise UserError(
            f"{where}: {c} is neither a folder nor a hub id such as Qwen/Qwen2-VL-2B-Instruct; correct it"
        )


def check_folder(where, f, types):
    pass


def check_model_folder(where, f, types):
    pass


def decoder_layers(where, folder):
    t = json.loads(Path(folder, "config.json").read_text())
    x = t.get("text_config") or {}
    return {**t, **x}.get("num_hidden_layers")


def folder_identity(f):
    return Path(f, "SHA256SUMS").read_text() if Path(f, "SHA256SUMS").exists() else "x"

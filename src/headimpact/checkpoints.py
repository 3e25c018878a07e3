"""A checkpoint's folder: its identity, its SHA256SUMS, and which files it must hold."""

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path

from headimpact.artifacts import file_sha256
from headimpact.guards import UserError

SUMS = "SHA256SUMS"
# Of these the first holds an image processor alone, the second a whole processor.
IMAGE_PROCESSORS = ("preprocessor_config.json", "processor_config.json")
# A tokenizer is any one of these sets of files.
TOKENIZERS = (("tokenizer.json",), ("tokenizer.model",), ("vocab.json", "merges.txt"))
# The JSON files in which a chat template may stand, under the key chat_template.
CHAT_TEMPLATES = ("chat_template.json", "processor_config.json", "tokenizer_config.json")


def is_local(checkpoint: str) -> bool:
    """Whether a checkpoint is a folder, and not a hub id."""
    return Path(checkpoint).is_dir()


def check_name(where: str, checkpoint: str) -> None:
    """Raise UserError, beginning with `where`, if a checkpoint is neither a folder nor a hub id.

    A name with two parts is a hub id, unless the first part is a folder here.
    """
    if is_local(checkpoint):
        return
    if checkpoint.startswith("~"):
        raise UserError(f"{where}: {checkpoint}: ~ is not expanded; write the whole path")
    path = Path(checkpoint)
    local = checkpoint.startswith((".", "/", "checkpoints/", "resources/"))
    if local or (len(path.parts) > 1 and path.parent.is_dir()):
        raise UserError(f"{where}: no folder {checkpoint}; correct the path or give a hub id")
    if not re.fullmatch(r"[\w.-]+/[\w.-]+", checkpoint, re.ASCII):
        raise UserError(
            f"{where}: {checkpoint} is neither a folder nor a hub id such as "
            f"Qwen/Qwen2-VL-2B-Instruct; correct it"
        )


def model_type(folder: str | Path) -> str | None:
    """The model type in a folder's config.json; None if it cannot be read."""
    try:
        content = json.loads(Path(folder, "config.json").read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return content.get("model_type") if isinstance(content, dict) else None


def folder_identity(folder: str | Path) -> str:
    """Hash by which one checkpoint folder differs from another.

    Files count by the content of SHA256SUMS where they are listed there, and else by their name,
    size and time of modification.
    """
    sums = Path(folder, SUMS)
    content = sums.read_bytes() if sums.is_file() else b""
    listed = {SUMS, *(name for _, name in _parse_sums(content))}
    identity = hashlib.sha256(content)
    for path in sorted(Path(folder).iterdir()):
        if path.name not in listed and path.is_file():
            status = path.stat()
            identity.update(f"{path.name}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return identity.hexdigest()[:16]


def write_sums(folder: str | Path) -> None:
    """Write SHA256SUMS for all other files of `folder`, as `sha256sum *` prints it."""
    paths = sorted(p for p in Path(folder).iterdir() if p.name != SUMS and p.is_file())
    lines = [f"{file_sha256(path)}  {path.name}\n" for path in paths]
    Path(folder, SUMS).write_text("".join(lines), encoding="utf-8")


def check_sums(folder: str | Path) -> None:
    """Raise UserError if a file of `folder` is missing or differs from its line in SHA256SUMS.

    A folder without SHA256SUMS passes.
    """
    sums = Path(folder, SUMS)
    if not sums.is_file():
        return
    for digest, name in _parse_sums(sums.read_bytes()):
        if name == SUMS:  # `sha256sum * > SHA256SUMS` lists itself when it is run a second time.
            continue
        path = Path(folder, name)
        if Path(name).name != name or not digest:
            raise UserError(f"{sums}: {name!r} is no file beside it; write it with sha256sum *")
        if not path.is_file():
            raise UserError(
                f"{path}: missing, but listed in {sums}; download the checkpoint again, or delete "
                f"{sums} if the change is yours"
            )
        if file_sha256(path) != digest:
            raise UserError(
                f"{path}: its SHA-256 is not the one in {sums}; download the checkpoint again, or "
                f"delete {sums} if the change is yours"
            )


def _parse_sums(content: bytes) -> list[tuple[str, str]]:
    """The (digest, file name) of each line of a SHA256SUMS; the digest is empty for other lines."""
    pairs = []
    for line in content.decode("utf-8", errors="replace").splitlines():
        digest, separator, name = line.partition(" ")
        # Before the name stands a second space, or * for a file that was read as binary.
        is_pair = separator and name[:1] in (" ", "*")
        pairs.append((digest, name[1:]) if is_pair else ("", line))
    return pairs


def check_model_folder(
    where: str, folder: str | Path, model_types: Sequence[str], chat: bool
) -> None:
    """Raise UserError unless a folder has all files of a vision-language model of these types.

    Looked for are those of `check_weights`, an image processor, a tokenizer and, if `chat`, a chat
    template. where: the key of the configuration, with which the error begins.
    """
    check_weights(where, folder, model_types)
    folder = Path(folder)
    if not any((folder / name).is_file() for name in IMAGE_PROCESSORS):
        raise UserError(
            f"{where}: no {' or '.join(IMAGE_PROCESSORS)} in {folder}; save the image processor "
            f"there with save_pretrained"
        )
    if not any(all((folder / name).is_file() for name in names) for names in TOKENIZERS):
        choices = " or ".join(" and ".join(names) for names in TOKENIZERS)
        raise UserError(
            f"{where}: no {choices} in {folder}; save the tokenizer there with save_pretrained"
        )
    if chat and not _has_chat_template(where, folder):
        raise UserError(
            f"{where}: no chat template in {folder}; put the checkpoint's chat_template.jinja there"
        )


def check_weights(where: str, folder: str | Path, model_types: Sequence[str]) -> None:
    """Raise UserError unless a folder has a config.json of these model types and its safetensors.

    where: the key of the configuration, with which the error begins.
    """
    folder = Path(folder)
    model_type = _read_json(where, folder / "config.json").get("model_type")
    if model_type not in model_types:
        raise UserError(
            f"{where}: {folder} is of model type {model_type}, not {' or '.join(model_types)}; "
            f"name another"
        )
    weights = {path.name for path in folder.glob("*.safetensors")}
    for index in sorted(folder.glob("*.safetensors.index.json")):
        shards = _read_json(where, index).get("weight_map")
        if not isinstance(shards, dict) or not all(isinstance(n, str) for n in shards.values()):
            raise UserError(f"{where}: {index} has no weight_map; download the checkpoint again")
        missing = sorted(set(shards.values()) - weights)
        if missing:
            raise UserError(
                f"{where}: {folder / missing[0]} is missing, of the {len(set(shards.values()))} "
                f"files in {index.name}; download the checkpoint again"
            )
    if not weights:
        raise UserError(
            f"{where}: no safetensors in {folder}, and nothing else is read; save it with "
            f"save_pretrained"
        )


def decoder_layers(where: str, folder: str | Path) -> int | None:
    """The number of decoder layers that the config.json of `folder` gives, None if it gives none.

    Raises UserError, beginning with `where`, if the file cannot be read or gives no whole number.
    """
    path = Path(folder, "config.json")
    config = _read_json(where, path)
    text = config.get("text_config")
    layers = {**config, **(text if isinstance(text, dict) else {})}.get("num_hidden_layers")
    if layers is not None and type(layers) is not int:
        raise UserError(f"{where}: {path}: num_hidden_layers is {layers!r}; correct it")
    return layers


def _has_chat_template(where: str, folder: Path) -> bool:
    if (folder / "chat_template.jinja").is_file():
        return True
    if any(folder.glob("additional_chat_templates/*.jinja")):
        return True
    paths = [folder / name for name in CHAT_TEMPLATES]
    return any(path.is_file() and _read_json(where, path).get("chat_template") for path in paths)


def _read_json(where: str, path: Path) -> dict:
    """The object in a JSON file, {} if it holds none; UserError if it cannot be read."""
    try:
        content = json.loads(path.read_bytes())
    except FileNotFoundError as error:
        raise UserError(
            f"{where}: no {path.name} in {path.parent}; name a folder that save_pretrained wrote"
        ) from error
    except (OSError, ValueError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise UserError(
            f"{where}: {path} cannot be read ({reason}); download the checkpoint again"
        ) from error
    return content if isinstance(content, dict) else {}

"""Downloads checkpoints from the Hugging Face hub and finds them in its cache."""

import json
import os
from pathlib import Path
from typing import Any

import httpx2
from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.errors import (
    GatedRepoError,
    LocalEntryNotFoundError,
    OfflineModeIsEnabled,
    RepositoryNotFoundError,
    RevisionNotFoundError,
)

from headimpact.guards import UnavailableError, UserError

# Weights as safetensors, and the files that describe them; neither pickles nor code.
FILES = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model"]
NESTED = ["*/*"]


def check_access(checkpoint: str, revision: str | None = None) -> None:
    """Raise an error if the checkpoint, a hub id, cannot be downloaded.

    A checkpoint in the hub's cache passes without a network or a licence. Raises UserError, with
    the page of the checkpoint, or UnavailableError if the hub cannot be reached.
    """
    try:
        _snapshot(checkpoint, revision, local_files_only=True)
    except LocalEntryNotFoundError:
        with _HubErrors(checkpoint, revision):
            HfApi().auth_check(checkpoint, token=_token())


def fetch(checkpoint: str, revision: str | None = None) -> dict[str, Any]:
    """Download a checkpoint, a hub id, into the hub's cache; continues an interrupted download.

    With HF_HUB_OFFLINE=1 only the cache is searched. Returns a record of checkpoint, revision,
    commit and files ({name: bytes}). Raises UserError, also if safetensors are missing, or
    UnavailableError if the hub cannot be reached.
    """
    with _HubErrors(checkpoint, revision):
        folder = Path(_snapshot(checkpoint, revision, token=_token()))
    _check_complete(checkpoint, folder)
    files = {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()}
    return {
        "checkpoint": checkpoint,
        "revision": revision,
        "commit": folder.name,
        "files": files,
    }


def fetched_folder(record: str | Path) -> tuple[Path, str]:
    """The folder and the commit of a checkpoint that was downloaded; uses no network.

    record: a JSON file with what `fetch` returned. Raises UserError if the checkpoint is no
    longer complete in the hub's cache.
    """
    fetched = json.loads(Path(record).read_text(encoding="utf-8"))
    checkpoint, commit = fetched["checkpoint"], fetched["commit"]
    try:
        folder = Path(_snapshot(checkpoint, commit, local_files_only=True))
        _check_complete(checkpoint, folder)
    except (LocalEntryNotFoundError, ValueError) as error:
        raise UserError(
            f"{checkpoint}: commit {commit} is not complete in the hub's cache (HF_HOME); "
            f"delete {record} and run again with a network"
        ) from error
    return folder, commit


def _snapshot(checkpoint: str, revision: str | None, **options) -> str:
    return snapshot_download(
        checkpoint, revision=revision, allow_patterns=FILES, ignore_patterns=NESTED, **options
    )


def _token() -> str | bool:
    """The token in HF_TOKEN; without one False, so that a stored token is not used either."""
    return os.environ.get("HF_TOKEN") or False


def _check_complete(checkpoint: str, folder: Path) -> None:
    """Raise UserError if the configuration or weights are missing in the folder."""
    weights = {path.name for path in folder.glob("*.safetensors")}
    wanted = set()
    for index in folder.glob("*.safetensors.index.json"):
        try:
            wanted |= set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{checkpoint}: {index.name} is damaged; download it again") from error
    if not (folder / "config.json").is_file():
        raise UserError(f"{checkpoint}: no config.json; name a checkpoint of transformers")
    if not weights:
        raise UserError(f"{checkpoint}: no safetensors; name a checkpoint that has them")
    if wanted - weights:
        raise UserError(f"{checkpoint}: {min(wanted - weights)} is missing; download it again")


class _HubErrors:
    """Context that replaces errors of the hub by one line with the fix and without a token."""

    def __init__(self, checkpoint: str, revision: str | None):
        self.checkpoint, self.revision = checkpoint, revision

    def __enter__(self):
        return self

    def __exit__(self, kind, error, trace):
        name, page = self.checkpoint, f"https://huggingface.co/{self.checkpoint}"
        if isinstance(error, GatedRepoError):
            raise UserError(
                f"{name}: gated; accept its licence at {page} and set HF_TOKEN to a token of "
                f"that account"
            ) from error
        if isinstance(error, RevisionNotFoundError):
            raise UserError(
                f"{name}: no revision {self.revision}; correct it, see {page}"
            ) from error
        if isinstance(error, RepositoryNotFoundError):
            raise UserError(
                f"{name}: not at {page}, or not public; correct the checkpoint or set HF_TOKEN"
            ) from error
        if isinstance(error, LocalEntryNotFoundError | OfflineModeIsEnabled):
            raise UnavailableError(
                f"{name}: not in the hub's cache, and the hub cannot be reached; run "
                f"`snakemake --cores 4 fetch` with a network connection"
            ) from error
        if isinstance(error, httpx2.HTTPError):
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UnavailableError(
                f"{name}: not a folder, and the hub at {constants.ENDPOINT} failed ({reason}); "
                f"correct the checkpoint, or run again to continue"
            ) from error
        return False

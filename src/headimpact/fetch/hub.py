"""Checkpoints of the Hugging Face hub: who may have them, fetching them, finding them again."""

import json
import os
from pathlib import Path

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

# weights as safetensors and what describes them; neither pickles nor code
FILES = ["*.safetensors", "*.json", "*.jinja", "*.txt", "*.model"]
NESTED = ["*/*"]


def check_access(checkpoint, revision=None):
    """Raise ValueError or OSError, one line with the page to visit, if it cannot be fetched.

    checkpoint: a hub id. What lies in the hub's cache needs neither network nor licence.
    """
    try:
        _snapshot(checkpoint, revision, local_files_only=True)
    except LocalEntryNotFoundError:
        with _Plainly(checkpoint, revision):
            HfApi().auth_check(checkpoint, token=_token())


def fetch(checkpoint, revision=None):
    """Fetch a hub checkpoint into the hub's own cache, going on where an earlier fetch stopped.

    Returns what was fetched (dict): checkpoint, revision, the commit that it is now, files
    (name: bytes). With HF_HUB_OFFLINE=1 the cache alone is asked. Raises ValueError or OSError,
    one line with the mend; ValueError too if there are no safetensors or some are missing.
    """
    with _Plainly(checkpoint, revision):
        folder = Path(_snapshot(checkpoint, revision, token=_token()))
    _check_whole(checkpoint, folder)
    files = {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()}
    return {
        "checkpoint": checkpoint,
        "revision": revision,
        "commit": folder.name,
        "files": files,
    }


def fetched_folder(record):
    """The folder of a checkpoint that `fetch` described in the JSON file `record`; no network.

    Returns the folder (Path) and the commit (str). Raises ValueError if it is not there any more.
    """
    told = json.loads(Path(record).read_text(encoding="utf-8"))
    checkpoint, commit = told["checkpoint"], told["commit"]
    try:
        folder = Path(_snapshot(checkpoint, commit, local_files_only=True))
        _check_whole(checkpoint, folder)
    except (LocalEntryNotFoundError, ValueError) as error:
        raise UserError(
            f"{checkpoint}: commit {commit} is not whole in the hub's cache (HF_HOME); "
            f"delete {record} and run again with a network"
        ) from error
    return folder, commit


def _snapshot(checkpoint, revision, **options):
    return snapshot_download(
        checkpoint, revision=revision, allow_patterns=FILES, ignore_patterns=NESTED, **options
    )


def _token():
    """The token of the environment and no other: False keeps a stored one out."""
    return os.environ.get("HF_TOKEN") or False


def _check_whole(checkpoint, folder):
    weights = {path.name for path in folder.glob("*.safetensors")}
    wanted = set()
    for index in folder.glob("*.safetensors.index.json"):
        try:
            wanted |= set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UserError(f"{checkpoint}: {index.name} is damaged; fetch it again") from error
    if not (folder / "config.json").is_file():
        raise UserError(f"{checkpoint}: no config.json; it is no checkpoint of transformers")
    if not weights:
        raise UserError(f"{checkpoint}: no safetensors; only these are read, name another")
    if wanted - weights:
        raise UserError(f"{checkpoint}: {min(wanted - weights)} is missing; fetch it again")


class _Plainly:
    """The hub's errors as one line with the mend; a token is never part of it."""

    def __init__(self, checkpoint, revision):
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
            raise UserError(f"{name}: no revision {self.revision}; see {page}") from error
        if isinstance(error, RepositoryNotFoundError):
            raise UserError(
                f"{name}: not at {page}, or closed to you; correct the checkpoint or set HF_TOKEN"
            ) from error
        if isinstance(error, LocalEntryNotFoundError | OfflineModeIsEnabled):
            raise UnavailableError(
                f"{name}: not in the hub's cache, and the hub cannot be reached; run "
                f"`snakemake --cores 4 fetch` where there is a network"
            ) from error
        if isinstance(error, httpx2.HTTPError):
            reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
            raise UnavailableError(
                f"{name}: no folder here, and the hub at {constants.ENDPOINT} failed ({reason}); "
                f"correct the checkpoint, or run again, it goes on"
            ) from error
        return False

"""The authors' release at its commit, by git, which checks every file against the commit."""

import os
import shutil
import subprocess
from pathlib import Path

from headimpact.dataset.release import Release
from headimpact.fetch.http import plain_line
from headimpact.guards import UnavailableError

# a transfer of less than a kilobyte a second for a minute is broken off
PATIENCE = ["-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=60"]
AROUND = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY")
WANTED = ("dataset_masks.json", "masks")


def fetch(url, commit, folder):
    """Put `dataset_masks.json` and `masks/` of the repository `url` at `commit` into `folder`.

    commit: the whole hash. A commit names its files by their contents, so what arrives is what
    the authors committed, or git refuses it. Raises OSError, one line with the mend.
    """
    folder = Path(folder)
    if Path(url).exists():
        url = str(Path(url).resolve())  # git runs in another folder
    if shutil.which("git") is None:
        raise UnavailableError(
            "git is not installed; install it, or name a folder as annotator.release"
        )
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    steps = [
        ["init", "--quiet"],
        [*PATIENCE, "fetch", "--quiet", "--depth", "1", "--", url, commit],
        ["-c", "core.symlinks=false", "checkout", "--quiet", commit, "--", *WANTED],
    ]
    try:
        for step in steps:
            _git(folder, step, plain_line(f"{url} at {commit}"))
        shutil.rmtree(folder / ".git")
        Release(folder).samples()
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _git(folder, arguments, what):
    done = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        env=_environment(),
    )
    if done.returncode:
        lines = done.stderr.strip().splitlines() or ["git failed"]
        reason = next((line for line in lines if line.startswith("fatal: ")), lines[-1])
        raise UnavailableError(
            f"{what}: {reason}; run again, set downloads.release to a mirror, or name a folder "
            f"as annotator.release"
        )


def _environment():
    """The user's, but for questions at a terminal and another repository around the folder."""
    mine = {name: value for name, value in os.environ.items() if name not in AROUND}
    return {**mine, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}

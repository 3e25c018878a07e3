"""Downloads the authors' release with git, which checks every file against the commit."""

import os
import shutil
import subprocess
from pathlib import Path

from headimpact.dataset.release import Release
from headimpact.fetch.http import plain_line
from headimpact.guards import UnavailableError

# Give up after a minute with less than a kilobyte per second.
TIMEOUT_OPTIONS = ["-c", "http.lowSpeedLimit=1000", "-c", "http.lowSpeedTime=60"]
REPOSITORY_VARIABLES = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_OBJECT_DIRECTORY")
WANTED = ("dataset_masks.json", "masks")


def fetch(url: str, commit: str, folder: str | Path) -> None:
    """Download dataset_masks.json and masks/ of the git repository `url` into `folder`.

    commit: the full hash. It covers the contents of the files, and git refuses others. The folder
    is replaced if it exists, and deleted after an error. Raises UnavailableError if git fails,
    and UserError if the files are not a release.
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
        [*TIMEOUT_OPTIONS, "fetch", "--quiet", "--depth", "1", "--", url, commit],
        ["-c", "core.symlinks=false", "checkout", "--quiet", commit, "--", *WANTED],
    ]
    try:
        for step in steps:
            _run_git(folder, step, plain_line(f"{url} at {commit}"))
        shutil.rmtree(folder / ".git")
        Release(folder).samples()
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _run_git(folder: Path, arguments: list[str], source: str) -> None:
    """Run git in the folder; source: the address and commit, for the message of an error."""
    process = subprocess.run(
        ["git", *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        errors="replace",
        stdin=subprocess.DEVNULL,
        env=_environment(),
    )
    if process.returncode:
        lines = process.stderr.strip().splitlines() or ["git failed"]
        reason = next((line for line in lines if line.startswith("fatal: ")), lines[-1])
        raise UnavailableError(
            f"{source}: {reason}; run again, set downloads.release to a mirror, or name a folder "
            f"as annotator.release"
        )


def _environment() -> dict[str, str]:
    """The environment for git, without prompts and without the variables of a git hook.

    Those variables would make git use the repository that the hook runs in.
    """
    inherited = {k: v for k, v in os.environ.items() if k not in REPOSITORY_VARIABLES}
    return {**inherited, "GIT_TERMINAL_PROMPT": "0", "LC_ALL": "C"}

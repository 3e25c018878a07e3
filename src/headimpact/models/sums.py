"""SHA256SUMS: whether a checkpoint's folder holds what its maker put there."""

from pathlib import Path

from headimpact.digest import sha256
from headimpact.guards import UserError

NAME = "SHA256SUMS"


def write_sums(folder):
    """Write SHA256SUMS for all other files of `folder`, as `sha256sum *` does."""
    paths = sorted(path for path in Path(folder).iterdir() if path.name != NAME)
    lines = [f"{sha256(path)}  {path.name}\n" for path in paths]
    Path(folder, NAME).write_text("".join(lines), encoding="utf-8")


def check_sums(folder):
    """Raise ValueError, naming the file and the mend, if one is not as SHA256SUMS has it.

    A folder without SHA256SUMS passes.
    """
    told = Path(folder, NAME)
    if not told.is_file():
        return
    for line in told.read_text(encoding="utf-8", errors="replace").splitlines():
        digest, _, name = line.partition("  ")
        path = Path(folder, name)
        if Path(name).name != name or not path.is_file() or sha256(path) != digest:
            raise UserError(
                f"{path}: not as {told} has it; get the checkpoint anew, or delete that file if "
                f"the change is yours"
            )

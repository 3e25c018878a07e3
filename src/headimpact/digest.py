"""The SHA-256 of a file."""

import hashlib


def sha256(path):
    """SHA-256 of the file at `path` (a Path), hexadecimal; read piece by piece."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()

"""Unpacks selected members of a zip archive; a file appears only once it is complete."""

import os
import re
import stat
import zipfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

from tqdm import tqdm

from headimpact.guards import UnavailableError, UserError

CHUNK = 1 << 20  # bytes
# With the other compression methods, zipfile may use any amount of memory.
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
ENCRYPTED = 1  # the bit in the flags of a member
# What zipfile raises for a damaged archive.
DAMAGE_ERRORS = (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, ValueError)


def unpack(
    archive: str | Path,
    members: dict[str, str] | Callable[[str], str | None],
    folder: str | Path,
    max_bytes: int = 2 << 30,
) -> list[Path]:
    """Write members of the zip file `archive` below `folder`, replacing existing files.

    members: {name in the archive: path below `folder`}, or a function that returns the path for a
    name, or None to skip it. max_bytes: the largest size of a member. Returns the paths of the
    written files in the order of the archive. Raises UserError if the archive is damaged or lacks
    a member, or if a member is not safe to write; UnavailableError if writing fails.
    """
    try:
        with _open_archive(archive) as file:
            targets = _select(archive, file.infolist(), members, Path(folder), max_bytes)
            total = sum(info.file_size for info in targets.values())
            with tqdm(total=total, unit="B", unit_scale=True, desc=Path(archive).name) as bar:
                for target, info in targets.items():
                    _write_file(target, _read_chunks(archive, file, info), bar)
    except OSError as error:
        raise UnavailableError(
            f"{archive}: cannot be unpacked into {folder} ({error.strerror}); free some space or "
            f"name another downloads.folder"
        ) from None
    return list(targets)


def _open_archive(archive: str | Path) -> zipfile.ZipFile:
    try:
        return zipfile.ZipFile(archive)
    except DAMAGE_ERRORS as error:
        raise UserError(
            f"not a zip archive: {archive} ({error}); delete it and run again"
        ) from None


def _select(
    archive: str | Path,
    infos: list[zipfile.ZipInfo],
    members: dict[str, str] | Callable[[str], str | None],
    folder: Path,
    max_bytes: int,
) -> dict[Path, zipfile.ZipInfo]:
    """{path to write: member}; all members are checked before any is written."""
    target_of = members if callable(members) else members.get
    missing = set() if callable(members) else set(members)
    targets = {}
    for info in infos:
        target = None if info.is_dir() else target_of(info.filename)
        if target is None:
            continue
        problem = _problem(info, target, max_bytes)
        if folder / target in targets:
            problem = "would be written over another member"
        if problem:
            raise UserError(
                f"{archive}: {info.filename!r} {problem}; delete the archive and use another"
            )
        targets[folder / target] = info
        missing.discard(info.filename)
    if missing:
        raise UserError(f"{archive}: no file {min(missing)!r} in it; use another archive")
    return targets


def _problem(info: zipfile.ZipInfo, target: str, max_bytes: int) -> str | None:
    """Why a member must not be written, or None."""
    if _leads_out(info.filename) or _leads_out(target) or target.split("/")[-1] in ("", "."):
        return f"may lead out of the folder, as {target!r}"
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
        return "is a link or a device"
    if info.flag_bits & ENCRYPTED:
        return "is encrypted"
    if info.compress_type not in METHODS:
        return "is not compressed with the method deflate"
    if info.file_size > max_bytes:
        return f"has {info.file_size} bytes, more than {max_bytes}"
    return None


def _leads_out(name: str) -> bool:
    """Whether the path may lead out of its folder on some operating system."""
    drive = re.match("[A-Za-z]:", name) is not None
    return drive or name.startswith("/") or "\\" in name or "\0" in name or ".." in name.split("/")


def _read_chunks(
    archive: str | Path, file: zipfile.ZipFile, info: zipfile.ZipInfo
) -> Iterator[bytes]:
    """The bytes of a member in chunks, never more than the size that it declares."""
    size = 0
    try:
        # The file object stops at the declared size and checks the CRC.
        with file.open(info) as source:
            while chunk := source.read(CHUNK):
                size += len(chunk)
                yield chunk
        if size < info.file_size:
            raise EOFError(f"{size} bytes of {info.file_size}")
    except (*DAMAGE_ERRORS, OSError) as error:  # OSError: an offset outside of the archive
        reason = str(error) or type(error).__name__
        raise UserError(
            f"{archive}: {info.filename!r} is damaged ({reason}); delete the archive and run again"
        ) from None


def _write_file(target: Path, chunks: Iterator[bytes], bar: tqdm) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    partial = target.with_name(f"{target.name}.partial")
    try:
        with open(partial, "wb") as out:
            for chunk in chunks:
                out.write(chunk)
                bar.update(len(chunk))
        os.replace(partial, target)
    finally:
        partial.unlink(missing_ok=True)

"""Unpacking what is wanted of a zip archive, each file moved to its place once it is whole."""

import os
import re
import stat
import zipfile
import zlib
from pathlib import Path

from tqdm import tqdm

from headimpact.guards import UnavailableError, UserError

CHUNK = 1 << 20  # bytes
METHODS = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)  # zipfile bounds no other's memory
ENCRYPTED = 1  # a bit of a member's flags
# all that zipfile raises for a damaged archive
DAMAGED = (zipfile.BadZipFile, zlib.error, NotImplementedError, EOFError, ValueError)


def unpack(archive, members, folder, max_bytes=2 << 30):
    """Write the wanted members of the zip file `archive` below `folder`, over what is there.

    members: {name in the archive: path below `folder`}, or a function from a name to such a path
    or to None, for what is not wanted. max_bytes: of one member. Returns the paths written, in
    the archive's order. Raises, one line each: ValueError for an archive that is damaged, lacks a
    wanted member or has one that may not be written; OSError for trouble of the disk.
    """
    try:
        with _opened(archive) as file:
            targets = _targets(archive, file.infolist(), members, Path(folder), max_bytes)
            total = sum(info.file_size for info in targets.values())
            with tqdm(total=total, unit="B", unit_scale=True, desc=Path(archive).name) as bar:
                for target, info in targets.items():
                    _write(target, _content(archive, file, info), bar)
    except OSError as error:
        raise UnavailableError(
            f"{archive}: cannot be unpacked into {folder} ({error.strerror}); make room there or "
            f"name another downloads.folder"
        ) from None
    return list(targets)


def _opened(archive):
    try:
        return zipfile.ZipFile(archive)
    except DAMAGED as error:
        raise UserError(
            f"not a zip archive: {archive} ({error}); delete it and run again"
        ) from None


def _targets(archive, infos, members, folder, max_bytes):
    """{path to write: its member}, after a look at all of them."""
    wanted = members if callable(members) else members.get
    missing = set() if callable(members) else set(members)
    targets = {}
    for info in infos:
        target = None if info.is_dir() else wanted(info.filename)
        if target is None:
            continue
        refusal = _refusal(info, target, max_bytes)
        if folder / target in targets:
            refusal = "would be written over another member"
        if refusal:
            raise UserError(
                f"{archive}: {info.filename!r} {refusal}; delete it and get another archive"
            )
        targets[folder / target] = info
        missing.discard(info.filename)
    if missing:
        raise UserError(f"{archive}: no file {min(missing)!r} in it; get another archive")
    return targets


def _refusal(info, target, max_bytes):
    """Why a member may not be written, or None."""
    if _leaves(info.filename) or _leaves(target) or target.split("/")[-1] in ("", "."):
        return f"may lead out of the folder, as {target!r}"
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
        return "is a link or another file that is not plain"
    if info.flag_bits & ENCRYPTED:
        return "is encrypted"
    if info.compress_type not in METHODS:
        return "is compressed with another method than deflate"
    if info.file_size > max_bytes:
        return f"has {info.file_size} bytes, more than {max_bytes}"
    return None


def _leaves(name):
    """Whether a path below a folder may lead out of it, on any system."""
    drive = re.match("[A-Za-z]:", name)
    return drive or name.startswith("/") or "\\" in name or "\0" in name or ".." in name.split("/")


def _content(archive, file, info):
    """The bytes of a member in chunks, as many as it declares."""
    size = 0
    try:
        with file.open(info) as source:  # reads no more than is declared, and checks the CRC of it
            while chunk := source.read(CHUNK):
                size += len(chunk)
                yield chunk
        if size < info.file_size:
            raise EOFError(f"{size} bytes of {info.file_size}")
    except (*DAMAGED, OSError) as error:  # OSError: an offset outside of the archive
        reason = str(error) or type(error).__name__
        raise UserError(
            f"{archive}: {info.filename!r} is damaged ({reason}); delete the archive and run again"
        ) from None


def _write(target, chunks, bar):
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

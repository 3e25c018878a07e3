"""Downloads COCO val2017 and unpacks the files that a study reads."""

import csv
import re
from pathlib import Path

from headimpact.dataset.coco import CocoFolder
from headimpact.fetch.archive import unpack
from headimpact.fetch.http import fetch

WANTED = re.compile(r"annotations/(captions|instances)_val2017\.json|val2017/\d+\.jpg")


def download(table: str | Path, url: str, work: str | Path, root: str | Path) -> None:
    """Download the archives of COCO val2017 and unpack them into the folder `root`.

    table: a CSV with the columns path, bytes and md5 of each archive. url: the address that the
    paths are relative to. work: the folder for the archives, which are deleted once all files are
    unpacked; an interrupted download continues from there. Raises UserError, or UnavailableError
    for failures of the network and of the disk.
    """
    with Path(table).open(encoding="utf-8", newline="") as file:
        archives = list(csv.DictReader(file))
    paths = [Path(work) / archive["path"] for archive in archives]
    for archive, path in zip(archives, paths, strict=True):
        fetch(f"{url.rstrip('/')}/{archive['path']}", path, int(archive["bytes"]), archive["md5"])
    for path in paths:
        unpack(path, lambda name: name if WANTED.fullmatch(name) else None, root)
    folder = CocoFolder(root, "val2017")
    folder.check()
    folder.check_images()
    for path in paths:
        path.unlink()

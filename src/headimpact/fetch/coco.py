"""COCO val2017 from its archives: fetched, checked, and of them only what a study reads."""

import csv
import re
from pathlib import Path

from headimpact.dataset.coco import CocoFolder
from headimpact.fetch.archive import unpack
from headimpact.fetch.http import fetch

WANTED = re.compile(r"annotations/(captions|instances)_val2017\.json|val2017/\d+\.jpg")


def download(table, url, work, root):
    """Fetch the archives of `table` below `url` and unpack COCO val2017 into the folder `root`.

    table: a CSV of path (below url), bytes and md5. work: the folder that keeps the archives
    until all is unpacked, so that an interrupted download goes on. Raises ValueError or OSError,
    one line with the mend.
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

"""Converts a CSV of captions into a caption file in COCO's format."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from PIL import ExifTags, Image
from tqdm import tqdm

from headimpact.dataset.coco import within
from headimpact.dataset.decoding import FORMATS
from headimpact.guards import UserError


def write(path: str | Path, table: str | Path, images: str | Path) -> None:
    """Write the captions of the CSV `table` as the COCO caption file `path`.

    images: the folder of the images. The CSV has the columns file (a path below that folder) and
    caption, and a row for each caption. Widths and heights are read from the headers of the
    images, after the rotation that EXIF asks for. Raises UserError, with the line of the CSV, if
    a row is malformed or an image is missing or damaged.
    """
    rows = list(_read_rows(table))
    if not rows:
        raise UserError(f"{table}: no captions; add a row for each caption below file,caption")
    names = list(dict.fromkeys(name for _, name, _ in rows))
    first_lines = {name: line for line, name, _ in reversed(rows)}
    entries = []
    for number, name in enumerate(tqdm(names, desc="captions", unit="image")):
        width, height = _image_size(Path(images), name, f"{table}: line {first_lines[name]}")
        entries.append({"id": number, "file_name": name, "width": width, "height": height})
    ids = {name: number for number, name in enumerate(names)}
    captions = [
        {"id": number, "image_id": ids[name], "caption": caption}
        for number, (_, name, caption) in enumerate(rows)
    ]
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    content = json.dumps({"images": entries, "annotations": captions})
    path.write_text(content, encoding="utf-8")


def _read_rows(table: str | Path) -> Iterator[tuple[int, str, str]]:
    """The rows of the CSV as (line, file, caption)."""
    try:
        with Path(table).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            header = reader.fieldnames or []
            if not {"file", "caption"} <= set(header):
                raise UserError(
                    f"{table}: line 1: its columns are {header}; write the header file,caption, "
                    f"with commas"
                )
            for row in reader:
                where = f"{table}: line {reader.line_num}"
                name, caption = row["file"], (row["caption"] or "").strip()
                if None in row:
                    raise UserError(f"{where}: more cells than columns; quote captions with commas")
                if not name or not caption:
                    raise UserError(f"{where}: no file or no caption; fill in both")
                yield reader.line_num, str(PurePosixPath(name)), caption
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table}: not readable as CSV in UTF-8 ({error}); correct it") from error


def _image_size(folder: Path, name: str, where: str) -> tuple[int, int]:
    """Width and height of the image; `where` begins the message of an error."""
    try:
        path = folder / within(name, folder)
        exists = path.is_file()
    except (ValueError, OSError) as error:  # OSError: the name is too long for the file system
        raise UserError(f"{where}: {error}; correct the name") from error
    if not exists:
        raise UserError(f"{where}: no file {path}; correct the name")
    try:
        with Image.open(path, formats=FORMATS) as image:
            sideways = image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
            return image.size[::-1] if sideways else image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(
            f"{where}: {name}: not a readable JPEG, PNG or WebP image ({error}); replace it"
        ) from error

"""Images with captions in a CSV, written as COCO's caption file."""

import csv
import json
from pathlib import Path, PurePosixPath

from PIL import ExifTags, Image
from tqdm import tqdm

from headimpact.dataset.coco import within
from headimpact.dataset.decoding import FORMATS
from headimpact.guards import UserError


def write(path, table, images):
    """Write COCO's caption file `path` for the CSV `table` over the folder `images`.

    The CSV has a header with the columns file (below the folder) and caption, and a row a
    caption. Sizes are read from the images' headers, upright. Raises ValueError, one line that
    names the file and the line, for what is not so.
    """
    rows = list(_rows(table))
    if not rows:
        raise UserError(f"{table}: no captions; write a row a caption under file,caption")
    names = list(dict.fromkeys(name for _, name, _ in rows))
    first = {name: line for line, name, _ in reversed(rows)}
    entries = []
    for number, name in enumerate(tqdm(names, desc="captions", unit="image")):
        width, height = _size(Path(images), name, f"{table}: line {first[name]}")
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


def _rows(table):
    """The CSV's (line, file, caption)."""
    try:
        with Path(table).open(encoding="utf-8-sig", newline="") as file:
            reader = csv.DictReader(file, strict=True)
            found = reader.fieldnames or []
            if not {"file", "caption"} <= set(found):
                raise UserError(
                    f"{table}: line 1: its columns are {found}; write the header file,caption, "
                    f"with commas"
                )
            for row in reader:
                where = f"{table}: line {reader.line_num}"
                name, caption = row["file"], (row["caption"] or "").strip()
                if None in row:
                    raise UserError(f"{where}: more cells than columns; quote a caption's commas")
                if not name or not caption:
                    raise UserError(f"{where}: no file or no caption")
                yield reader.line_num, str(PurePosixPath(name)), caption
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{table}: not readable as CSV in UTF-8 ({error})") from error


def _size(folder, name, where):
    try:
        path = folder / within(name, folder)
        there = path.is_file()
    except (ValueError, OSError) as error:  # a name that is too long is the system's error
        raise UserError(f"{where}: {error}") from error
    if not there:
        raise UserError(f"{where}: no file {path}")
    try:
        with Image.open(path, formats=FORMATS) as image:
            turned = image.getexif().get(ExifTags.Base.Orientation) in (5, 6, 7, 8)
            return image.size[::-1] if turned else image.size
    except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
        raise UserError(f"{where}: {name}: not an image as JPEG, PNG or WebP ({error})") from error

"""A dataset in COCO's layout: its captions, its instances, its images."""

import json
import re
from collections.abc import Iterable
from itertools import islice
from pathlib import Path, PurePosixPath, PureWindowsPath

import pandas as pd
from PIL import Image
from tqdm import tqdm

from headimpact.artifacts import file_sha256
from headimpact.dataset.decoding import decode_image
from headimpact.guards import UserError

CAPTION_COLUMNS = ["image_id", "file_name", "width", "height", "caption_id", "caption"]
IMAGE_KEYS = {"id": int, "file_name": str, "width": int, "height": int}
# Characters that no file name may hold: a backslash, control characters, half a surrogate pair.
NO_NAME = re.compile("[\\\\\x00-\x1f\ud800-\udfff]")
LONE_SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can hold it, UTF-8 cannot.


class CocoFolder:
    """`{root}/annotations/captions_{subset}.json`, instances beside it, and `{root}/{subset}/`.

    images: the images' folder, if it is another. upright: rotate an image as its EXIF orientation
    says; COCO's own annotations refer to images as they are stored. All methods raise UserError,
    one line with the file and the fix, for what does not follow COCO's layout.
    """

    def __init__(
        self,
        root: str | Path,
        subset: str,
        images: str | Path | None = None,
        upright: bool = False,
    ):
        self.root, self.subset, self.upright = Path(root), subset, upright
        self.images_folder = Path(images) if images else self.root / subset

    def check(self, kinds: Iterable[str] = ("captions", "instances")) -> None:
        """Raise UserError if a folder or an annotation file is missing; reads no file."""
        if not self.root.is_dir():
            raise UserError(
                f"dataset.root: no folder {self.root}; name one that holds annotations/ "
                f"and {self.subset}/"
            )
        if not self.images_folder.is_dir():
            raise UserError(
                f"dataset.subset: no folder {self.images_folder}; name the images' folder"
            )
        for kind in kinds:
            if not self._annotation_file(kind).is_file():
                raise UserError(
                    f"dataset.root: no file {self._annotation_file(kind)}; add it or "
                    f"correct dataset.subset"
                )

    def check_images(self, captions: pd.DataFrame | None = None) -> None:
        """Raise UserError if the file of an image in `captions` is missing; opens no image.

        captions: as `captions` (None) or `uncaptioned` gives them.
        """
        names = (self.captions() if captions is None else captions)["file_name"].unique()
        missing = [name for name in names if not (self.images_folder / name).is_file()]
        if missing:
            raise UserError(
                f"{self.images_folder}: {len(missing)} of {len(names)} images are missing, "
                f"{missing[0]} first; download them again"
            )

    def check_count(self, wanted: int) -> None:
        """Raise UserError if the images' folder holds fewer than `wanted` files; opens none."""
        files = (path for path in self.images_folder.rglob("*") if path.is_file())
        count = sum(1 for _ in islice(files, wanted))
        if wanted > count:
            raise UserError(
                f"sampling.images: asks for {wanted} images, {self.images_folder} has {count}; "
                f"lower it, or download the missing ones"
            )

    def captions(self) -> pd.DataFrame:
        """A row for each caption: image_id, file_name, width, height, caption_id, caption."""
        content = self._read("captions")
        images = self._images(content, "captions")
        rows = []
        for entry in self._entries(
            content, "captions", "annotations", {"id": int, "image_id": int, "caption": str}
        ):
            if entry["image_id"] in images:
                image = images[entry["image_id"]]
                rows.append(
                    {
                        "image_id": image["id"],
                        **{key: image[key] for key in ("file_name", "width", "height")},
                        "caption_id": entry["id"],
                        "caption": entry["caption"],
                    }
                )
        return pd.DataFrame(rows, columns=CAPTION_COLUMNS)

    def uncaptioned(self) -> pd.DataFrame:
        """The columns of `captions` for each image of the instance file, with empty captions."""
        images = self._images(self._read("instances"), "instances").values()
        rows = [
            {
                "image_id": image["id"],
                **{key: image[key] for key in ("file_name", "width", "height")},
                "caption_id": 0,
                "caption": "",
            }
            for image in images
        ]
        return pd.DataFrame(rows, columns=CAPTION_COLUMNS)

    def instances(self) -> pd.DataFrame:
        """A row for each instance, with the columns listed below.

        category is the name of the category. description is the instance's own, or None.
        segmentation is as in the file, and is not checked.
        """
        content = self._read("instances")
        images = self._images(content, "instances")
        names = {
            entry["id"]: entry["name"]
            for entry in self._entries(content, "instances", "categories", {"id": int, "name": str})
        }
        rows = []
        wanted = {"image_id": int, "category_id": int}
        for entry in self._entries(content, "instances", "annotations", wanted):
            if entry["image_id"] not in images:
                continue
            if entry["category_id"] not in names:
                raise UserError(
                    f"{self._annotation_file('instances')}: no category {entry['category_id']}; "
                    f"download the file again"
                )
            image = images[entry["image_id"]]
            description = entry.get("description")
            rows.append(
                {
                    "image_id": image["id"],
                    "height": image["height"],
                    "width": image["width"],
                    "category": names[entry["category_id"]],
                    "description": description if _fits(description, str) else None,
                    "segmentation": entry.get("segmentation"),
                    "iscrowd": bool(entry.get("iscrowd")),
                }
            )
        columns = [
            *("image_id", "height", "width", "category", "description"),
            *("segmentation", "iscrowd"),
        ]
        return pd.DataFrame(rows, columns=columns, dtype=object)  # keeps None, not NaN

    def image(self, file_name: str) -> Image.Image:
        """The image, fully decoded, as RGB."""
        return decode_image(self._image_path(file_name), self.upright)

    def file_hashes(self, file_names: Iterable[str]) -> list[str | None]:
        """SHA-256 of each image file, hexadecimal; None for a file that does not exist."""
        paths = [self._image_path(name) for name in file_names]
        return [
            file_sha256(path) if path.is_file() else None
            for path in tqdm(paths, desc="files", unit="image")
        ]

    def check_unchanged(self, images: pd.DataFrame) -> None:
        """Raise UserError if an image file differs from the one that the study was drawn from.

        images: a table of kind "images" or "samples".
        """
        hashes = self.file_hashes(images["file_name"])
        for row, current in zip(images.itertuples(), hashes, strict=True):
            recorded = row.sha256 if isinstance(row.sha256, str) else None  # pandas: NaN for null
            if current == recorded:
                continue
            redraw = "draw the study again: the same command with --forcerun captions images"
            path = self._image_path(row.file_name)
            if current is None:
                raise UserError(f"{path}: missing; download it again, or {redraw}")
            if recorded is None:
                raise UserError(
                    f"{path}: was missing when the study was drawn; remove it, or {redraw}"
                )
            raise UserError(
                f"{path}: not the file that the study was drawn from; download that again, or "
                f"{redraw}"
            )

    def _image_path(self, file_name: str) -> Path:
        return self.images_folder / within(file_name, self.images_folder)

    def _annotation_file(self, kind: str) -> Path:
        return self.root / "annotations" / f"{kind}_{self.subset}.json"

    def _read(self, kind: str) -> dict:
        path = self._annotation_file(kind)
        try:
            content = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{path}: not readable as JSON ({error}); download it again") from error
        if not isinstance(content, dict):
            raise UserError(f"{path}: not an annotation file of COCO; download it again")
        return content

    def _entries(self, content: dict, kind: str, part: str, keys: dict[str, type]) -> list[dict]:
        """The list content[part]; UserError unless each entry has these keys of these types."""
        path, entries = self._annotation_file(kind), content.get(part)
        if not isinstance(entries, list):
            raise UserError(f"{path}: no list of {part}; download it again")
        for number, entry in enumerate(entries):
            if not isinstance(entry, dict):
                raise UserError(f"{path}: {part}[{number}] is no object; download it again")
            for key, expected in keys.items():
                if not _fits(entry.get(key), expected):
                    type_name = "a whole number from 0" if expected is int else "text"
                    raise UserError(
                        f"{path}: {part}[{number}].{key} is not {type_name}; download it again"
                    )
        return entries

    def _images(self, content: dict, kind: str) -> dict[int, dict]:
        path, entries = (
            self._annotation_file(kind),
            self._entries(content, kind, "images", IMAGE_KEYS),
        )
        images = {entry["id"]: entry for entry in entries}
        for entry in images.values():
            try:
                within(entry["file_name"], self.images_folder)
            except ValueError as error:
                raise UserError(f"{path}: {error}; download it again") from error
            if not (0 < entry["width"] < 1 << 16 and 0 < entry["height"] < 1 << 16):
                raise UserError(f"{path}: image {entry['id']} has no size; download it again")
        return images


def within(file_name: str, folder: str | Path) -> PurePosixPath:
    """`file_name` as a path below `folder`; UserError if it leads out of it or is no file name.

    Symbolic links in the folder are followed, since its owner created them.
    """
    path = PurePosixPath(file_name)
    leaves = path.is_absolute() or ".." in path.parts or PureWindowsPath(file_name).drive
    if leaves or NO_NAME.search(file_name) or not path.name:
        raise UserError(f"{file_name!r}: not the name of a file in {folder}")
    return path


def _fits(value: object, expected: type) -> bool:
    """Whether a value of the JSON can stand in a table, as a number from 0 or as text."""
    if expected is int:
        return type(value) is int and 0 <= value < 1 << 63
    return isinstance(value, str) and not LONE_SURROGATE.search(value)

"""A folder in COCO's own layout: its captions, its instances, its images."""

import json
import re
from pathlib import Path, PurePosixPath, PureWindowsPath

import pandas as pd
from PIL import ExifTags, Image

from headimpact.guards import UserError

IMAGE_KEYS = {"id": int, "file_name": str, "width": int, "height": int}
FORMATS = ("JPEG", "PNG", "WEBP")
TURNS = {  # what undoes a camera's turn, by its EXIF orientation
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
# a backslash, NUL, a line's end, half a letter
NO_NAME = re.compile("[\\\\\x00-\x1f\ud800-\udfff]")
LONE_SURROGATE = re.compile("[\ud800-\udfff]")  # JSON can hold it, UTF-8 cannot


class CocoFolder:
    """`{root}/annotations/captions_{subset}.json`, instances beside it, and `{root}/{subset}/`.

    images: the images' folder, if it is another. upright: turn an image as its camera's note
    (EXIF) says; COCO's own annotations refer to images as they are stored. All methods raise
    ValueError, one line that names the file and the mend, for what is not as COCO has it.
    """

    def __init__(self, root, subset, images=None, upright=False):
        self.root, self.subset, self.upright = Path(root), subset, upright
        self.images_folder = Path(images) if images else self.root / subset

    def check(self, kinds=("captions", "instances")):
        """Raise ValueError if the folder or one of its files is not there; reads none of them."""
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
                    f"dataset.root: no file {self._annotation_file(kind)}; put it there or "
                    f"correct dataset.subset"
                )

    def check_images(self):
        """Raise ValueError unless every image with a caption is there; opens none of them."""
        names = self.captions()["file_name"].unique()
        missing = [name for name in names if not (self.images_folder / name).is_file()]
        if missing:
            raise UserError(
                f"{self.images_folder}: {len(missing)} of {len(names)} images are missing, "
                f"{missing[0]} first; get them anew"
            )

    def image_count(self):
        """How many images have a caption."""
        return self.captions()["image_id"].nunique()

    def captions(self):
        """A row a caption: image_id, file_name, width, height, caption_id, caption."""
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
        columns = ["image_id", "file_name", "width", "height", "caption_id", "caption"]
        return pd.DataFrame(rows, columns=columns)

    def instances(self):
        """A row an instance: image_id, height, width, category, description, segmentation, iscrowd.

        category: its name. description: the instance's own, or None. segmentation: as in the
        file, unchecked.
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
                    f"get the file anew"
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
        return pd.DataFrame(rows, columns=columns, dtype=object)  # keeps None, which else is NaN

    def image(self, file_name):
        """The image, fully decoded, as RGB."""
        path = self.images_folder / within(file_name, self.images_folder)
        try:
            with Image.open(path, formats=FORMATS) as image:
                # not by ImageOps.exif_transpose: it also writes odd EXIF anew, and fails
                turn = image.getexif().get(ExifTags.Base.Orientation) if self.upright else None
                return _as_rgb(image.transpose(TURNS[turn]) if turn in TURNS else image)
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise UserError(f"{path}: not a readable image ({error}); get it anew") from error

    def _annotation_file(self, kind):
        return self.root / "annotations" / f"{kind}_{self.subset}.json"

    def _read(self, kind):
        path = self._annotation_file(kind)
        try:
            content = json.loads(path.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{path}: not readable as JSON ({error}); get it anew") from error
        if not isinstance(content, dict):
            raise UserError(f"{path}: not an annotation file of COCO; get it anew")
        return content

    def _entries(self, content, kind, part, keys):
        """The list content[part], each entry with these keys of these types."""
        entries = content.get(part)
        if not isinstance(entries, list):
            raise UserError(f"{self._annotation_file(kind)}: no list of {part}; get it anew")
        for number, entry in enumerate(entries):
            if not isinstance(entry, dict):
                raise UserError(
                    f"{self._annotation_file(kind)}: {part}[{number}] is no object; get it anew"
                )
            for key, expected in keys.items():
                value = entry.get(key)
                if not _fits(value, expected):
                    raise UserError(
                        f"{self._annotation_file(kind)}: {part}[{number}].{key} is not "
                        f"{'a whole number from 0' if expected is int else 'text'}; get it anew"
                    )
        return entries

    def _images(self, content, kind):
        images = {
            entry["id"]: entry for entry in self._entries(content, kind, "images", IMAGE_KEYS)
        }
        for entry in images.values():
            try:
                within(entry["file_name"], self.images_folder)
            except ValueError as error:
                raise UserError(f"{self._annotation_file(kind)}: {error}; get it anew") from error
            if not (0 < entry["width"] < 1 << 16 and 0 < entry["height"] < 1 << 16):
                raise UserError(
                    f"{self._annotation_file(kind)}: image {entry['id']} has no size; get it anew"
                )
        return images


def _as_rgb(image):
    """An image as RGB: 16 bits as 8, what is transparent on white."""
    if image.mode.startswith("I"):
        image = image.point(lambda value: value / 256).convert("L")
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = Image.new("RGBA", image.size, "white")
        image = Image.alpha_composite(white, image)
    return image.convert("RGB")


def within(file_name, folder):
    """`file_name` if it names a file below `folder`; ValueError if it would leave it.

    A link that lies in the folder is followed, as its owner put it there.
    """
    path = PurePosixPath(file_name)
    leaves = path.is_absolute() or ".." in path.parts or PureWindowsPath(file_name).drive
    if leaves or NO_NAME.search(file_name) or not path.name:
        raise UserError(f"{file_name!r}: not the name of a file in {folder}")
    return path


def _fits(value, expected):
    """Whether a value of the JSON can stand in a table, as a number from 0 or as text."""
    if expected is int:
        return type(value) is int and 0 <= value < 1 << 63
    return isinstance(value, str) and not LONE_SURROGATE.search(value)

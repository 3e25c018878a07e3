"""Reads the annotations that the authors published, and writes others in the same layout."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse

from headimpact.dataset.coco import LONE_SURROGATE, NO_NAME, within
from headimpact.dataset.masks import decode
from headimpact.guards import UserError

COLUMNS = ["image_id", "file_name", "caption_id", "caption"]
SAMPLE_KEYS = {
    "image_id": int,
    "annotation_id": int,
    "annotation_full_text": str,
    "image_file_name": str,
    "grounding": dict,
}
# Each is a list with an entry for each box; an image without boxes or masks may lack them.
GROUNDING_KEYS = ("bboxes", "labels", "masks_scores", "masks_file_name")


class Release:
    """A folder with `dataset_masks.json` and `masks/*.npz`, as the authors published it.

    All methods raise UserError, one line with the file and the fix, for files that are missing or
    malformed. An incomplete entry, such as a box without a mask, is no error.
    """

    def __init__(self, root: str | Path):
        self.root = Path(root)
        self.file = self.root / "dataset_masks.json"

    def check(self) -> None:
        """Raise UserError if dataset_masks.json or masks/ is missing; reads no file."""
        if not (self.file.is_file() and (self.root / "masks").is_dir()):
            raise UserError(
                f"annotator.release: no {self.file} with masks/ beside it; correct the path, or "
                f"remove the key to download the release"
            )

    def samples(self) -> pd.DataFrame:
        """A row for each sample, in the file's order: image_id, file_name, caption_id, caption."""
        rows = [
            (s["image_id"], s["image_file_name"], s["annotation_id"], s["annotation_full_text"])
            for s in self._read()
        ]
        return pd.DataFrame(rows, columns=COLUMNS)

    def objects(self) -> pd.DataFrame:
        """A row for each box: image_id, description, x0, y0, x1, y1, mask, confidence.

        x0 to y1 are in pixels. mask is the name of a file in masks/; it and confidence are NaN
        for a box without a mask. An image without a box has no row. Nothing is filtered.
        """
        rows = []
        for sample in self._read():
            grounding = _grounding(sample)
            boxes = zip(grounding["bboxes"], grounding["labels"], strict=True)
            for number, (box, label) in enumerate(boxes):
                mask = _first_value(grounding["masks_file_name"], number)
                score = _first_value(grounding["masks_scores"], number)
                if mask is None or score is None:
                    mask, score = None, float("nan")
                rows.append((sample["image_id"], label, *box, mask, score))
        columns = ["image_id", "description", "x0", "y0", "x1", "y1", "mask", "confidence"]
        return pd.DataFrame(rows, columns=columns)

    def mask(self, name: str) -> np.ndarray:
        """The mask, bool (height, width), in the file `name` of masks/."""
        path = self.root / "masks" / name
        try:
            matrix = scipy.sparse.load_npz(path)  # This never unpickles.
            matrix.check_format(full_check=True)
            return matrix.toarray() > 0
        except Exception as error:  # numpy, zipfile, zlib and scipy all raise their own
            raise UserError(f"{path}: not a readable mask ({error}); download it again") from error

    def _read(self) -> list[dict]:
        try:
            samples = json.loads(self.file.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(
                f"{self.file}: not readable as JSON ({error}); download it again"
            ) from error
        if not isinstance(samples, list):
            raise UserError(f"{self.file}: not a list of samples; download it again")
        for number, sample in enumerate(samples):
            problem = _problem(sample)
            if problem:
                raise UserError(f"{self.file}: sample {number}: {problem}; download it again")
        return samples


def _problem(sample: object) -> str | None:
    """What is malformed in a sample, or None."""
    if not isinstance(sample, dict):
        return "not an object"
    for key, kind in SAMPLE_KEYS.items():
        value = sample.get(key)
        if type(value) is not kind:
            return f"{key} is no {kind.__name__}"
        if kind is str and LONE_SURROGATE.search(value):
            return f"{key} is no text"
    try:
        within(sample["image_file_name"], "the dataset")
    except ValueError as error:
        return str(error)
    if not 0 <= sample["image_id"] < 1 << 63 or not 0 <= sample["annotation_id"] < 1 << 63:
        return "an id below 0 or too large"
    grounding = _grounding(sample)
    for key in GROUNDING_KEYS:
        if not isinstance(grounding[key], list):
            return f"grounding.{key} is no list"
    if len(grounding["bboxes"]) != len(grounding["labels"]):
        return f"{len(grounding['bboxes'])} bboxes for {len(grounding['labels'])} labels"
    for box in grounding["bboxes"]:
        if not (isinstance(box, list) and len(box) == 4 and all(map(_is_finite, box))):
            return "a box is not four numbers"
    if not all(isinstance(s, str) and not LONE_SURROGATE.search(s) for s in grounding["labels"]):
        return "a label is no text"
    for name in _flatten(grounding["masks_file_name"]):
        is_name = isinstance(name, str) and name not in ("", ".", "..")
        if not is_name or "/" in name or NO_NAME.search(name):
            return f"{name!r} is not the name of a file in masks/"
    if not all(map(_is_finite, _flatten(grounding["masks_scores"]))):
        return "a mask's score is no number"
    return None


def _grounding(sample: dict) -> dict[str, list]:
    """The lists of GROUNDING_KEYS in a sample's grounding; those that are missing are empty."""
    return {
        key: [] if sample["grounding"].get(key) is None else sample["grounding"][key]
        for key in GROUNDING_KEYS
    }


def _is_finite(value: object) -> bool:
    return type(value) in (int, float) and abs(value) < 1 << 53


def _flatten(nested: list) -> list:
    return [x for entry in nested for x in (entry if isinstance(entry, list) else [entry])]


def _first_value(nested: list, number: int) -> object:
    """The entry `number`, taken out of the list that the authors put it in; None if missing."""
    entry = nested[number] if number < len(nested) else []
    if isinstance(entry, list):
        return entry[0] if entry else None
    return entry


def write(folder: str | Path, images: pd.DataFrame, annotations: pd.DataFrame, url: str) -> None:
    """Write annotations in the layout of the authors' release.

    images, annotations: tables of these kinds. url: the address of the images' folder, for
    image_coco_url. All annotations are written, whatever their confidence, as in the release.
    """
    folder = Path(folder)
    (folder / "masks").mkdir(parents=True)
    by_image = dict(list(annotations.groupby("image_id", sort=False)))
    samples = []
    for number, image in enumerate(images.itertuples()):
        objects = by_image.get(image.image_id, annotations.head(0))
        names = [f"e{number}o{k}m0.npz" for k in range(len(objects))]
        for name, counts in zip(names, objects["mask"], strict=True):
            mask = decode(counts, image.height, image.width)
            matrix = scipy.sparse.csr_matrix(mask.astype(np.float64))
            scipy.sparse.save_npz(folder / "masks" / name, matrix)
        samples.append(
            {
                "image_id": image.image_id,
                "annotation_id": image.caption_id,
                "annotation_full_text": image.caption,
                "image_file_name": image.file_name,
                "image_coco_url": f"{url}/{image.file_name}",
                "grounding": {
                    "bboxes": objects[["x0", "y0", "x1", "y1"]].to_numpy().tolist(),
                    "labels": objects["description"].tolist(),
                    "masks_scores": [[value] for value in objects["confidence"]],
                    "masks_file_name": [[name] for name in names],
                },
            }
        )
    (folder / "dataset_masks.json").write_text(json.dumps(samples, indent=4), encoding="utf-8")

"""The authors' published annotations: reading their layout, and writing ours in it."""

import json
from pathlib import Path

import numpy as np
import pandas as pd
import scipy.sparse

from headimpact.dataset.coco import LONE_SURROGATE, NO_NAME, within
from headimpact.dataset.masks import decode
from headimpact.guards import UserError

COLUMNS = ["image_id", "file_name", "caption_id", "caption"]
SAMPLE = {
    "image_id": int,
    "annotation_id": int,
    "annotation_full_text": str,
    "image_file_name": str,
    "grounding": dict,
}
# lists an entry a box; an image without a box, or without a mask, may lack them
PARTS = ("bboxes", "labels", "masks_scores", "masks_file_name")


class Release:
    """A folder with `dataset_masks.json` and `masks/*.npz`, as the authors published it.

    All methods raise ValueError, one line that names the file and the mend, for what cannot be
    read. What is there but incomplete (a box without a mask) is the caller's to count.
    """

    def __init__(self, root):
        self.root = Path(root)
        self.file = self.root / "dataset_masks.json"

    def check(self):
        """Raise ValueError if the folder is not there; reads nothing."""
        if not (self.file.is_file() and (self.root / "masks").is_dir()):
            raise UserError(
                f"annotator.release: no {self.file} with masks/ beside it; correct the path, or "
                f"leave the key out to have it downloaded"
            )

    def samples(self):
        """A row a sample, in the file's order: image_id, file_name, caption_id, caption."""
        rows = [
            (s["image_id"], s["image_file_name"], s["annotation_id"], s["annotation_full_text"])
            for s in self._read()
        ]
        return pd.DataFrame(rows, columns=COLUMNS)

    def objects(self):
        """A row a box: image_id, description, x0, y0, x1, y1, mask (its file's name), confidence.

        mask and confidence are missing (NaN) where the release has a box without a mask. Boxes
        are in pixels; nothing is filtered. An image without a box has no row.
        """
        rows = []
        for sample in self._read():
            found = _grounding(sample)
            for number, (box, label) in enumerate(
                zip(found["bboxes"], found["labels"], strict=True)
            ):
                mask = _first(found["masks_file_name"], number)
                score = _first(found["masks_scores"], number)
                if mask is None or score is None:
                    mask, score = None, float("nan")
                rows.append((sample["image_id"], label, *box, mask, score))
        columns = ["image_id", "description", "x0", "y0", "x1", "y1", "mask", "confidence"]
        return pd.DataFrame(rows, columns=columns)

    def mask(self, name):
        """The mask, bool (height, width), of the file `name`."""
        path = self.root / "masks" / name
        try:
            matrix = scipy.sparse.load_npz(path)  # never unpickles
            matrix.check_format(full_check=True)
            return matrix.toarray() > 0
        except Exception as error:  # of numpy, zipfile, zlib and scipy, by what is damaged
            raise UserError(f"{path}: not a readable mask ({error}); get it anew") from error

    def _read(self):
        try:
            samples = json.loads(self.file.read_bytes())
        except (OSError, ValueError, RecursionError) as error:
            raise UserError(f"{self.file}: not readable as JSON ({error}); get it anew") from error
        if not isinstance(samples, list):
            raise UserError(f"{self.file}: not a list of samples; get it anew")
        for number, sample in enumerate(samples):
            problem = _problem(sample)
            if problem:
                raise UserError(f"{self.file}: sample {number}: {problem}; get it anew")
        return samples


def _problem(sample):
    """What keeps a sample from being read, or None."""
    if not isinstance(sample, dict):
        return "not an object"
    for key, kind in SAMPLE.items():
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
    found = _grounding(sample)
    for part in PARTS:
        if not isinstance(found[part], list):
            return f"grounding.{part} is no list"
    if len(found["bboxes"]) != len(found["labels"]):
        return f"{len(found['bboxes'])} bboxes for {len(found['labels'])} labels"
    for box in found["bboxes"]:
        if not (isinstance(box, list) and len(box) == 4 and all(map(_finite, box))):
            return "a box is not four numbers"
    if not all(isinstance(s, str) and not LONE_SURROGATE.search(s) for s in found["labels"]):
        return "a label is no text"
    for name in _each(found["masks_file_name"]):
        named = isinstance(name, str) and name not in ("", ".", "..")
        if not named or "/" in name or NO_NAME.search(name):
            return f"{name!r} is not the name of a file in masks/"
    if not all(map(_finite, _each(found["masks_scores"]))):
        return "a mask's score is no number"
    return None


def _grounding(sample):
    """All PARTS of a sample's grounding."""
    return {
        part: [] if sample["grounding"].get(part) is None else sample["grounding"][part]
        for part in PARTS
    }


def _finite(value):
    return type(value) in (int, float) and abs(value) < 1 << 53


def _each(nested):
    return [x for entry in nested for x in (entry if isinstance(entry, list) else [entry])]


def _first(nested, number):
    """The release nests a mask's name and score in a list of one; what is missing is None."""
    entry = nested[number] if number < len(nested) else []
    if isinstance(entry, list):
        return entry[0] if entry else None
    return entry


def write(folder, images, annotations, url):
    """Write tables "images" and "annotations" as the authors published theirs.

    url: what stands before a file's name in image_coco_url. Like theirs it is unfiltered: a
    reader drops what lies below the confidence that it wants.
    """
    folder = Path(folder)
    (folder / "masks").mkdir(parents=True)
    by_image = dict(list(annotations.groupby("image_id", sort=False)))
    samples = []
    for number, image in enumerate(images.itertuples()):
        mine = by_image.get(image.image_id, annotations.head(0))
        names = [f"e{number}o{k}m0.npz" for k in range(len(mine))]
        for name, counts in zip(names, mine["mask"], strict=True):
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
                    "bboxes": mine[["x0", "y0", "x1", "y1"]].to_numpy().tolist(),
                    "labels": mine["description"].tolist(),
                    "masks_scores": [[value] for value in mine["confidence"]],
                    "masks_file_name": [[name] for name in names],
                },
            }
        )
    (folder / "dataset_masks.json").write_text(json.dumps(samples, indent=4), encoding="utf-8")

"""Masks as COCO's compressed run-length encoding (RLE), stored as text."""

import numpy as np
from pycocotools import mask as coco_mask

from headimpact.guards import UserError


def encode(mask: np.ndarray) -> str:
    """The counts of the COCO RLE of a mask, bool or 0 and 1, (height, width)."""
    return coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"].decode("ascii")


def decode(counts: str, height: int, width: int) -> np.ndarray:
    """The mask, bool (height, width), of the counts of a COCO RLE.

    Raises UserError if the text is not an RLE or its runs do not fill the image exactly;
    pycocotools would check neither.
    """
    runs = _run_lengths(counts)
    if min(runs, default=-1) < 0 or sum(runs) != height * width:
        raise UserError(f"the RLE mask does not fill its {width} x {height} image")
    inside = np.arange(len(runs)) % 2 == 1  # Every second run lies inside the mask.
    return np.repeat(inside, runs).reshape(width, height).T  # RLE goes column by column.


def from_segmentation(segmentation: object, height: int, width: int) -> str:
    """The RLE counts of a COCO "segmentation": polygons, or runs as numbers or compressed text.

    Raises UserError if it is malformed or does not fit the image.
    """
    if isinstance(segmentation, list) and segmentation:
        if not all(isinstance(p, list) and len(p) >= 6 and len(p) % 2 == 0 for p in segmentation):
            raise UserError("a polygon needs at least three pairs of coordinates")
        # pycocotools allocates memory in proportion to the length of an edge.
        limit = 2 * max(height, width)
        if not all(_is_number(value) and abs(value) <= limit for p in segmentation for value in p):
            raise UserError(f"a polygon lies far outside its {width} x {height} image")
        polygons = coco_mask.frPyObjects(segmentation, height, width)
        counts = coco_mask.merge(polygons)["counts"].decode("ascii")
    elif isinstance(segmentation, dict) and segmentation.get("size") == [height, width]:
        counts = segmentation.get("counts")
        if isinstance(counts, list):
            if not all(type(run) is int for run in counts):
                raise UserError("the runs of an RLE mask must be whole numbers")
            if sum(counts) != height * width or min(counts, default=0) < 0:
                raise UserError(f"the RLE mask does not fill its {width} x {height} image")
            runs = coco_mask.frPyObjects(segmentation, height, width)
            counts = runs["counts"].decode("ascii")
        elif not isinstance(counts, str):
            raise UserError("an RLE mask needs counts")
    else:
        raise UserError(f"neither polygons nor an RLE of a {width} x {height} image")
    decode(counts, height, width)
    return counts


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _run_lengths(counts: str) -> list[int]:
    """The run lengths that compressed counts stand for.

    A character holds five bits of a number, the lowest first, and a bit that says whether more
    follow. From the fourth run on, the number is the difference to the run two before it.
    """
    runs, value, shift = [], 0, 0
    for character in counts:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30:
            raise UserError("the RLE mask has a character that is not part of an RLE")
        value |= (bits & 31) << shift
        shift += 5
        if not bits & 32:
            if bits & 16:
                value -= 1 << shift
            runs.append(value + (runs[-2] if len(runs) > 2 else 0))
            value, shift = 0, 0
    if shift:
        raise UserError("the RLE mask ends in the middle of a run")
    return runs

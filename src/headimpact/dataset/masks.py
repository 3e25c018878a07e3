"""Masks as COCO's compressed run-length encoding (RLE), kept as text."""

import numpy as np
from pycocotools import mask as coco_mask

from headimpact.guards import UserError


def encode(mask):
    """COCO RLE counts (str) of a mask, bool or 0/1, shape (height, width)."""
    return coco_mask.encode(np.asfortranarray(mask, dtype=np.uint8))["counts"].decode("ascii")


def decode(counts, height, width):
    """The mask, bool (height, width), of COCO RLE `counts` (str).

    Raises ValueError if the text is no RLE or its runs do not fill the image exactly, which
    the library does not look at.
    """
    runs = _runs(counts)
    if min(runs, default=-1) < 0 or sum(runs) != height * width:
        raise UserError(f"the RLE mask does not fill its {width} x {height} image")
    inside = np.arange(len(runs)) % 2 == 1  # runs alternate, column by column
    return np.repeat(inside, runs).reshape(width, height).T


def from_segmentation(segmentation, height, width):
    """RLE counts (str) of a COCO "segmentation": polygons, compressed or plain runs.

    Raises ValueError if it is none of these or does not fit the image.
    """
    if isinstance(segmentation, list) and segmentation:
        if not all(isinstance(p, list) and len(p) >= 6 and len(p) % 2 == 0 for p in segmentation):
            raise UserError("a polygon needs at least three pairs of coordinates")
        far = 2 * max(height, width)  # the library takes memory by the length of an edge
        if not all(_number(value) and abs(value) <= far for p in segmentation for value in p):
            raise UserError(f"a polygon lies far outside its {width} x {height} image")
        parts = coco_mask.frPyObjects(segmentation, height, width)
        counts = coco_mask.merge(parts)["counts"].decode("ascii")
    elif isinstance(segmentation, dict) and segmentation.get("size") == [height, width]:
        counts = segmentation.get("counts")
        if isinstance(counts, list):
            if not all(type(run) is int for run in counts):
                raise UserError("the runs of an RLE mask are whole numbers")
            if sum(counts) != height * width or min(counts, default=0) < 0:
                raise UserError(f"the RLE mask does not fill its {width} x {height} image")
            runs = coco_mask.frPyObjects(segmentation, height, width)
            counts = runs["counts"].decode("ascii")
        elif not isinstance(counts, str):
            raise UserError("an RLE mask needs counts")
    else:
        raise UserError(f"no polygons and no RLE of a {width} x {height} image")
    decode(counts, height, width)
    return counts


def _number(value):
    return isinstance(value, int | float) and not isinstance(value, bool)


def _runs(counts):
    """The run lengths behind compressed counts: five bits a character, low bits first, each
    run from the third on kept as the difference to the one before the last."""
    runs, value, shift = [], 0, 0
    for character in counts:
        bits = ord(character) - 48
        if not 0 <= bits < 64 or shift > 30:
            raise UserError("the RLE mask holds a character that no RLE has")
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

"""The annotator `instances`: COCO's own masks and categories, or the scenes' descriptions."""

import numpy as np
import pandas as pd
from tqdm import tqdm

from headimpact.annotate.reading import Dropped, read_image
from headimpact.artifacts import columns
from headimpact.dataset.masks import decode, from_segmentation
from headimpact.guards import UserError


def annotate(folder, images, description):
    """Key objects of `images` and what was left out: tables "annotations" and "dropped".

    folder: a CocoFolder. images: a table of kind "images". description: how a category becomes
    a description, with {category} and {article}; an instance that brings its own keeps it.
    Every image is decoded once, so that a damaged one is named here and not hours later.
    Crowd regions are left out. The confidence of a mask drawn by a person is 1.
    Raises ValueError if the description names anything else.
    """
    try:
        description.format(article="a", category="thing")
    except (LookupError, AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f"annotator.description: {description!r} is no template ({error}); "
            f"use {{article}} and {{category}} alone"
        ) from error
    instances = dict(list(folder.instances().groupby("image_id", sort=False)))
    found, dropped = [], Dropped()
    for image in tqdm(list(images.itertuples()), desc="annotate", unit="image"):
        if read_image(folder, image, dropped) is None:
            continue
        for row in instances.get(image.image_id, pd.DataFrame()).itertuples():
            if row.iscrowd:
                dropped.leave_out(image, "crowd region")
                continue
            try:
                counts = from_segmentation(row.segmentation, image.height, image.width)
            except ValueError:
                dropped.leave_out(image, "malformed mask")
                continue
            article = "an" if row.category[:1].lower() in set("aeiou") else "a"
            text = row.description or description.format(article=article, category=row.category)
            box = _box(decode(counts, image.height, image.width))
            found.append(
                {
                    "image_id": image.image_id,
                    "description": text,
                    **dict(zip(("x0", "y0", "x1", "y1"), box, strict=True)),
                    "mask": counts,
                    "confidence": 1.0,
                }
            )
    return pd.DataFrame(found, columns=columns("annotations")), dropped.table()


def _box(mask):
    """Edges x0, y0, x1, y1 of a mask in pixels, the last two exclusive; zeros if it is empty."""
    ys, xs = np.nonzero(mask)
    if not len(xs):
        return 0.0, 0.0, 0.0, 0.0
    return float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)

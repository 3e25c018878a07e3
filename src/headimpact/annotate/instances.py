"""The annotator `instances`: the masks and categories of COCO's instance file."""

import json

import numpy as np
import pandas as pd
from tqdm import tqdm

from headimpact.annotate.reading import Dropped, read_image
from headimpact.artifacts import columns
from headimpact.dataset.coco import CocoFolder
from headimpact.dataset.masks import decode, from_segmentation
from headimpact.guards import UserError


def read_instances(folder: CocoFolder, images: pd.DataFrame) -> pd.DataFrame:
    """The instances of some images, as a table of kind "instances".

    images: a table of kind "images". The annotation file is read as a whole, which for COCO's
    train2017 takes minutes: once for a study, not once for each shard.
    """
    instances = folder.instances()
    instances = instances[instances["image_id"].isin(images["image_id"])]
    return instances[["image_id", "category", "description"]].assign(
        segmentation=[json.dumps(value) for value in instances["segmentation"]],
        iscrowd=instances["iscrowd"].astype(int),
    )


def annotate(
    folder: CocoFolder, images: pd.DataFrame, description: str, instances: pd.DataFrame
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The key objects of `images`, and what was left out and why.

    images, instances: tables of those kinds. description: template with {category} and {article}
    for the description of an instance that has none of its own. Crowd regions are left out. The
    confidence is 1 for every mask, since people drew them. Each image is decoded, so that a
    damaged one is reported here and not hours later. Returns tables of the kinds "annotations"
    and "dropped". Raises UserError if the template has other fields.
    """
    try:
        description.format(article="a", category="thing")
    except (LookupError, AttributeError, TypeError, ValueError) as error:
        raise UserError(
            f"annotator.description: {description!r} is no template ({error}); "
            f"use {{article}} and {{category}} alone"
        ) from error
    instances_of = dict(list(instances.groupby("image_id", sort=False)))
    annotations, dropped = [], Dropped()
    for image in tqdm(list(images.itertuples()), desc="annotate", unit="image"):
        if read_image(folder, image, dropped) is None:
            continue
        for row in instances_of.get(image.image_id, pd.DataFrame()).itertuples():
            if row.iscrowd:
                dropped.leave_out(image, "crowd region")
                continue
            try:
                counts = from_segmentation(json.loads(row.segmentation), image.height, image.width)
            except ValueError:
                dropped.leave_out(image, "malformed mask")
                continue
            article = "an" if row.category[:1].lower() in set("aeiou") else "a"
            own = row.description if isinstance(row.description, str) else ""  # pandas: NaN
            text = own or description.format(article=article, category=row.category)
            box = _bounding_box(decode(counts, image.height, image.width))
            annotations.append(
                {
                    "image_id": image.image_id,
                    "description": text,
                    **dict(zip(("x0", "y0", "x1", "y1"), box, strict=True)),
                    "mask": counts,
                    "confidence": 1.0,
                }
            )
    return pd.DataFrame(annotations, columns=columns("annotations")), dropped.table()


def _bounding_box(mask: np.ndarray) -> tuple[float, float, float, float]:
    """Edges x0, y0, x1, y1 of a mask in pixels, x1 and y1 exclusive; zeros if it is empty."""
    ys, xs = np.nonzero(mask)
    if not len(xs):
        return 0.0, 0.0, 0.0, 0.0
    return float(xs.min()), float(ys.min()), float(xs.max() + 1), float(ys.max() + 1)

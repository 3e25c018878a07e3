"""The annotator `release`: the key objects that the authors published, with their masks."""

from pathlib import Path

import pandas as pd
from tqdm import tqdm

from headimpact.annotate.reading import Dropped, read_image
from headimpact.artifacts import columns
from headimpact.dataset.coco import CocoFolder
from headimpact.dataset.masks import encode
from headimpact.dataset.release import Release


def annotate(
    folder: CocoFolder, images: pd.DataFrame, release: str | Path
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The key objects of `images`, and what was left out and why.

    images: a table of kind "images". release: a folder with dataset_masks.json and masks/. Left
    out are images without a box, boxes without a mask, and masks whose size is not that of the
    image. Returns tables of the kinds "annotations" and "dropped". Raises UserError if a file of
    the release is missing or damaged.
    """
    release = Release(release)
    objects = dict(list(release.objects().groupby("image_id", sort=False)))
    annotations, dropped = [], Dropped()
    for image in tqdm(list(images.itertuples()), desc="annotate", unit="image"):
        if read_image(folder, image, dropped) is None:
            continue
        if image.image_id not in objects:
            dropped.leave_out(image, "no box")
            continue
        for row in objects[image.image_id].itertuples():
            if not isinstance(row.mask, str):
                dropped.leave_out(image, "box without a mask")
                continue
            mask = release.mask(row.mask)
            if mask.shape != (image.height, image.width):
                dropped.leave_out(image, "mask of another size than its image")
                continue
            annotations.append(
                {
                    "image_id": image.image_id,
                    "description": row.description,
                    **{edge: getattr(row, edge) for edge in ("x0", "y0", "x1", "y1")},
                    "mask": encode(mask),
                    "confidence": row.confidence,
                }
            )
    return pd.DataFrame(annotations, columns=columns("annotations")), dropped.table()

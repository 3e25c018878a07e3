"""The annotator `release`: key objects from the authors' published masks."""

import pandas as pd
from tqdm import tqdm

from headimpact.annotate.reading import Dropped, read_image
from headimpact.artifacts import columns
from headimpact.dataset.masks import encode
from headimpact.dataset.release import Release


def annotate(folder, images, release):
    """Key objects of `images` and what was left out: tables "annotations" and "dropped".

    folder: a CocoFolder. images: a table of kind "images". release: a folder with
    dataset_masks.json and masks/. An image without
    a box, a box without a mask and a mask of another size than its image are left out, each
    counted. Raises ValueError for a mask's file that is missing or damaged.
    """
    release = Release(release)
    objects = dict(list(release.objects().groupby("image_id", sort=False)))
    found, dropped = [], Dropped()
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
            found.append(
                {
                    "image_id": image.image_id,
                    "description": row.description,
                    **{edge: getattr(row, edge) for edge in ("x0", "y0", "x1", "y1")},
                    "mask": encode(mask),
                    "confidence": row.confidence,
                }
            )
    return pd.DataFrame(found, columns=columns("annotations")), dropped.table()

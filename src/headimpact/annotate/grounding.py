"""The annotator `florence2_sam2`: phrases of the caption, their boxes, and masks of these."""

from itertools import chain

import pandas as pd
from tqdm import tqdm

from headimpact.annotate.florence2 import Grounder
from headimpact.annotate.reading import Dropped, read_image
from headimpact.annotate.sam2 import Segmenter
from headimpact.artifacts import columns
from headimpact.dataset.coco import CocoFolder
from headimpact.dataset.masks import encode
from headimpact.guards import AdaptiveBatch
from headimpact.models.load import resolve_device


def annotate(
    folder: CocoFolder,
    images: pd.DataFrame,
    grounder: str,
    segmenter: str,
    device: str,
    batch: int,
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Key objects of `images` and what was left out: tables "annotations" and "dropped".

    images: a table of kind "images". grounder, segmenter: folders of the checkpoints of
    Florence-2 and SAM2 (section 3). device: "auto", "cpu" or "cuda". batch: images that
    Florence-2 sees at a time, fewer where a GPU runs out of memory.
    """
    device = resolve_device(device)
    return annotate_with(
        folder, images, Grounder(grounder, device), Segmenter(segmenter, device), batch
    )


def annotate_with(
    folder: CocoFolder, images: pd.DataFrame, grounder: Grounder, segmenter: Segmenter, batch: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The same with models that are loaded.

    A phrase with several boxes is several objects. x0 to y1 are Florence-2's, confidence is
    SAM2's. Masks that are empty or below the threshold of confidence are not left out here.
    """
    found, dropped, room = [], Dropped(), AdaptiveBatch(batch, "Florence-2")
    rows = list(images.itertuples())
    with tqdm(total=len(rows), desc="annotate", unit="image") as progress:
        for start in range(0, len(rows), batch):
            part = [(row, read_image(folder, row, dropped)) for row in rows[start : start + batch]]
            whole = [(row, picture) for row, picture in part if picture is not None]
            asked = [(picture, row.caption) for row, picture in whole]
            grounded = chain.from_iterable(
                room(lambda part: grounder.ground(*zip(*part, strict=True)), asked)
            )
            for (row, picture), pairs in zip(whole, grounded, strict=True):
                pairs = _usable(row, pairs, dropped)
                masks, confidences = segmenter.segment(picture, [box for _, box in pairs])
                for (phrase, box), mask, confidence in zip(pairs, masks, confidences, strict=True):
                    found.append(
                        {
                            "image_id": row.image_id,
                            "description": phrase,
                            **dict(zip(("x0", "y0", "x1", "y1"), box, strict=True)),
                            "mask": encode(mask),
                            "confidence": float(confidence),
                        }
                    )
            progress.update(len(part))
    return pd.DataFrame(found, columns=columns("annotations")), dropped.table()


def _usable(row, pairs, dropped):
    """The (phrase, box) of an image that can be segmented; the others are left out."""
    usable = []
    for phrase, (x0, y0, x1, y1) in pairs:
        if not phrase:
            dropped.leave_out(row, "no phrase")
        elif x1 <= x0 or y1 <= y0:
            dropped.leave_out(row, "box without area")
        else:
            usable.append((phrase, (x0, y0, x1, y1)))
    return usable

"""The annotator `florence2_sam2`: boxes for the phrases of captions, and masks for the boxes."""

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
    """The key objects of `images`, and what was left out and why.

    images: a table of kind "images". grounder, segmenter: folders of the checkpoints of
    Florence-2 and SAM2 (section 3). device: "auto", "cpu" or "cuda". batch: how many images
    Florence-2 gets at a time, fewer after a GPU runs out of memory. Returns tables of the kinds
    "annotations" and "dropped". Raises UserError if a checkpoint cannot be loaded.
    """
    device = resolve_device(device)
    return annotate_with(
        folder, images, Grounder(grounder, device), Segmenter(segmenter, device), batch
    )


def annotate_with(
    folder: CocoFolder, images: pd.DataFrame, grounder: Grounder, segmenter: Segmenter, batch: int
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Like `annotate`, with models that are already loaded.

    A phrase with several boxes gives several objects. The boxes are Florence-2's, the confidence
    is SAM2's. Nothing is filtered here: a mask may be empty or have a low confidence.
    """
    annotations, dropped, in_batches = [], Dropped(), AdaptiveBatch(batch, "Florence-2")
    rows = list(images.itertuples())
    with tqdm(total=len(rows), desc="annotate", unit="image") as progress:
        for start in range(0, len(rows), batch):
            batch_rows = rows[start : start + batch]
            decoded = [(row, read_image(folder, row, dropped)) for row in batch_rows]
            readable = [(row, image) for row, image in decoded if image is not None]
            captioned = [(image, row.caption) for row, image in readable]
            grounded = chain.from_iterable(
                in_batches(lambda items: grounder.ground(*zip(*items, strict=True)), captioned)
            )
            for (row, image), pairs in zip(readable, grounded, strict=True):
                pairs = _usable_pairs(row, pairs, dropped)
                masks, confidences = segmenter.segment(image, [box for _, box in pairs])
                for (phrase, box), mask, confidence in zip(pairs, masks, confidences, strict=True):
                    annotations.append(
                        {
                            "image_id": row.image_id,
                            "description": phrase,
                            **dict(zip(("x0", "y0", "x1", "y1"), box, strict=True)),
                            "mask": encode(mask),
                            "confidence": float(confidence),
                        }
                    )
            progress.update(len(batch_rows))
    return pd.DataFrame(annotations, columns=columns("annotations")), dropped.table()


def _usable_pairs(row, pairs: list[tuple], dropped: Dropped) -> list[tuple]:
    """The (phrase, box) pairs with a phrase and an area; the others are counted in `dropped`."""
    usable = []
    for phrase, (x0, y0, x1, y1) in pairs:
        if not phrase:
            dropped.leave_out(row, "no phrase")
        elif x1 <= x0 or y1 <= y0:
            dropped.leave_out(row, "box without area")
        else:
            usable.append((phrase, (x0, y0, x1, y1)))
    return usable

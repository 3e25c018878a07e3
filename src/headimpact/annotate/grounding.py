"""The annotator `florence2_sam2`: phrases of the caption, their boxes, and masks of these."""

from itertools import chain

import pandas as pd
from tqdm import tqdm

from headimpact.annotate.reading import Dropped, read_image
from headimpact.artifacts import columns
from headimpact.dataset.masks import encode
from headimpact.guards import AdaptiveBatch


def annotate(folder, images, grounder, segmenter, batch):
    """Key objects of `images` and what was left out: tables "annotations" and "dropped".

    folder: a CocoFolder. images: a table of kind "images". grounder: Florence-2 (a Grounder),
    segmenter: SAM2 (a Segmenter), as in section 3. batch: images that the grounder sees at a
    time, fewer where a GPU has too little memory. A phrase with several boxes is several objects.
    x0 to y1 are Florence-2's, confidence is SAM2's. Masks that are empty or below the threshold
    of confidence are not left out here.
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

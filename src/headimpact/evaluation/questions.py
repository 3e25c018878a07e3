"""Four-option questions about the test objects (section 5.4)."""

from collections.abc import Iterable

import numpy as np
import pandas as pd

from headimpact.artifacts import LABELS
from headimpact.guards import UserError


def make_questions(
    samples: pd.DataFrame,
    objects: pd.DataFrame,
    annotations: pd.DataFrame,
    descriptions: Iterable[str],
    seed: int,
) -> pd.DataFrame:
    """Four options for each object: its description and three that name nothing in its image.

    samples, objects: the test items and their images. annotations: all that was found in any
    image, before filters: no wrong option may name a thing that is there. descriptions: those of
    the dataset, from which wrong options are drawn without repeats. The right option's place is
    balanced over A to D.
    Returns a table of kind "questions", the same for the same seed. Raises UserError if fewer
    than three other descriptions are left for an object.
    """
    rng = np.random.default_rng(seed)
    image_of = samples.set_index("sample_id")["image_id"]
    present = annotations.groupby("image_id")["description"].agg(
        lambda texts: {text.casefold() for text in texts}
    )
    pool = {text.casefold(): text for text in sorted(descriptions)}
    places = rng.permutation(np.arange(len(objects)) % len(LABELS))
    rows = []
    for item, place in zip(objects.itertuples(), places, strict=True):
        excluded = present[image_of[item.sample_id]]
        others = [text for folded, text in pool.items() if folded not in excluded]
        if len(others) < len(LABELS) - 1:
            raise UserError(
                f"sampling.images: {len(others)} descriptions of the dataset name nothing in the "
                f"image of object {item.object_id}, three are needed; raise it"
            )
        options = [str(text) for text in rng.choice(others, len(LABELS) - 1, replace=False)]
        options.insert(place, item.description)
        row = {f"option_{label}": text for label, text in zip(LABELS, options, strict=True)}
        rows.append({"object_id": item.object_id, **row, "answer": LABELS[place]})
    return pd.DataFrame(rows)

"""What a model says of the test items: their descriptions and their four-option questions."""

from collections.abc import Iterable
from functools import partial
from itertools import chain, islice

import pandas as pd

from headimpact.guards import AdaptiveBatch
from headimpact.models import prompts
from headimpact.models.continuations import score_continuations
from headimpact.table_kinds import LABELS


def evaluate(
    model,
    family,
    features: Iterable,
    objects: pd.DataFrame,
    questions: pd.DataFrame,
    batch: int,
    one_pass: bool = True,
) -> list[dict]:
    """Rows of kind "answers", one an object, in the order of the images (section 5.4).

    model: with its adapter, or as it is. features: (sample, image features) of each image that
    has an object, as `models.features.load_or_compute` yields them. objects, questions: tables of
    those kinds, of the same objects. batch: most objects at once, of as many images, fewer
    where a GPU runs out of memory, down to a single description or label. one_pass: see
    `score_continuations`.
    Log-probabilities are natural logarithms over the whole vocabulary; the description's is
    summed over its tokens. Raises NotFiniteError, naming the sample, if one is not finite.
    """
    run_in_batches = AdaptiveBatch(batch * (1 + len(LABELS)), "evaluate")
    score = partial(score_continuations, model, family, one_pass=one_pass)
    items_of = {}
    for item in objects.merge(questions, on="object_id").itertuples():
        items_of.setdefault(item.sample_id, []).append(item)
    rows, features = [], iter(features)
    while images := [
        (sample, family.encoded_image(sample, f)) for sample, f in islice(features, batch)
    ]:
        items = [(item, image) for sample, image in images for item in items_of[sample.sample_id]]
        conversations = [
            (image, sequence)
            for item, image in items
            for sequence in _sequences(family, image.grid, item)
        ]
        scores = chain.from_iterable(run_in_batches(score, conversations))
        rows += [_answer(item, islice(scores, 1 + len(LABELS))) for item, _ in items]
    return rows


def _sequences(family, grid, item):
    """The description of an object, then the labels of its question."""
    options = [getattr(item, f"option_{x}") for x in LABELS]
    yield prompts.description(family, grid, item.description)
    yield from prompts.choices(family, grid, options)


def _answer(item, scores) -> dict:
    """The row of an object; scores: of what `_sequences` gives for it."""
    description, *labels = (score.log_probabilities for score in scores)
    return {
        "sample_id": item.sample_id,
        "object_id": item.object_id,
        "log_probability": description.sum().item(),
        "tokens": len(description),
        **{f"log_{x}": logs.item() for x, logs in zip(LABELS, labels, strict=True)},
    }

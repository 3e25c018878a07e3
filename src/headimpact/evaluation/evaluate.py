"""What a model says of the test items: their descriptions and their four-option questions."""

from collections.abc import Iterable
from functools import partial
from itertools import chain

import pandas as pd

from headimpact.artifacts import LABELS
from headimpact.guards import AdaptiveBatch, naming_sample
from headimpact.models import prompts
from headimpact.models.continuations import score_continuations


def evaluate(
    model,
    family,
    features: Iterable,
    objects: pd.DataFrame,
    questions: pd.DataFrame,
    one_pass: bool = True,
) -> list[dict]:
    """Rows of kind "answers", one an object, in the order of the images (section 5.4).

    model: with its adapter, or as it is. features: (sample, image features) of each image that
    has an object, as `models.features.load_or_compute` yields them. objects, questions: tables of
    those kinds, of the same objects. one_pass: see `score_continuations`.
    Log-probabilities are natural logarithms over the whole vocabulary; the description's is
    summed over its tokens. Raises NotFiniteError, naming the sample, if one is not finite.
    """
    run_in_batches = AdaptiveBatch(len(objects) * (1 + len(LABELS)), "evaluate")
    items = dict(list(objects.merge(questions, on="object_id").groupby("sample_id")))
    rows = []
    for sample, image_features in features:
        grid = family.grid(sample.width, sample.height)
        score = partial(score_continuations, model, family, image_features, grid, one_pass=one_pass)
        with naming_sample(sample):
            rows += _answers(family, grid, score, run_in_batches, items[sample.sample_id])
    return rows


def _answers(family, grid, score, run_in_batches, items: pd.DataFrame) -> list[dict]:
    """The rows of the objects of one image."""
    sequences = [
        (
            prompts.description(family, grid, item.description),
            *prompts.choices(family, grid, [getattr(item, f"option_{x}") for x in LABELS]),
        )
        for item in items.itertuples()
    ]
    scores = chain.from_iterable(run_in_batches(score, list(chain.from_iterable(sequences))))
    rows = []
    for item in items.itertuples():
        description, *labels = (next(scores).log_probabilities for _ in range(1 + len(LABELS)))
        rows.append(
            {
                "sample_id": item.sample_id,
                "object_id": item.object_id,
                "log_probability": description.sum().item(),
                "tokens": len(description),
                **{f"log_{x}": logs.item() for x, logs in zip(LABELS, labels, strict=True)},
            }
        )
    return rows

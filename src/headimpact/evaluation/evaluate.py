"""The test split: perplexity of the descriptions, and four-option questions (section 5.4)."""

import math
from functools import partial
from itertools import chain

import numpy as np

from headimpact.guards import AdaptiveBatch, NotFiniteError, UserError
from headimpact.models import prompts
from headimpact.models.continuations import score_continuations
from headimpact.models.features import compute
from headimpact.models.prompts import LABELS


def questions(samples, objects, annotations, dataset, seed):
    """Four options for each object: its description and three that name nothing in its image.

    samples, objects: the items and their images. annotations: all that was found in any image,
    before filters: no wrong option may name a thing that is there. dataset: the descriptions
    that wrong options are drawn from, without repeats. The right one's place is balanced over
    A to D.
    Returns a list of (options, label), the same for the same seed. Raises ValueError if fewer
    than three other descriptions are left for an object.
    """
    rng = np.random.default_rng(seed)
    image_of = samples.set_index("sample_id")["image_id"]
    present = annotations.groupby("image_id")["description"].agg(
        lambda found: {text.casefold() for text in found}
    )
    pool = {text.casefold(): text for text in sorted(dataset)}
    places = rng.permutation(np.arange(len(objects)) % len(LABELS))
    asked = []
    for item, place in zip(objects.itertuples(), places, strict=True):
        here = present[image_of[item.sample_id]]
        others = [text for folded, text in pool.items() if folded not in here]
        if len(others) < len(LABELS) - 1:
            raise UserError(
                f"sampling.images: {len(others)} descriptions of the dataset name nothing in the "
                f"image of object {item.object_id}, three are needed; raise it"
            )
        options = [str(text) for text in rng.choice(others, len(LABELS) - 1, replace=False)]
        options.insert(place, item.description)
        asked.append((options, LABELS[place]))
    return asked


def evaluate(model, family, folder, samples, objects, asked, one_pass=True):
    """Score every test object with one model, as it is or adapted.

    asked: what `questions` gave for these objects. one_pass: see `score_continuations`. The
    description's negative log-likelihood (nll, nats) is summed over its tokens; p_A to p_D are
    over the whole vocabulary. Yields a list of rows (dict) for each image; with setup and draw
    they are those of kind "metrics". Raises NotFiniteError, naming the sample and the layer.
    """
    room = AdaptiveBatch(len(objects) * (1 + len(LABELS)), "evaluate")
    items = {}
    for item, question in zip(objects.itertuples(), asked, strict=True):
        items.setdefault(item.sample_id, []).append((item, *question))
    for sample, features in compute(model, family, folder, samples, desc="evaluate"):
        of_image = items.get(sample.sample_id, ())
        try:
            yield _ask(model, family, room, sample, features, of_image, one_pass)
        except FloatingPointError as error:
            where = f"sample {sample.sample_id} ({sample.file_name})"
            raise NotFiniteError(f"{where}: {error}") from error


def _ask(model, family, room, sample, features, items, one_pass):
    """The rows of one image's objects: what the model says of each, and of its question."""
    grid = family.grid(sample.width, sample.height)
    said = [
        (
            prompts.description(family, grid, item.description),
            *prompts.choices(family, grid, options),
        )
        for item, options, _ in items
    ]
    run = partial(score_continuations, model, family, features, grid, one_pass=one_pass)
    scored = chain.from_iterable(room(run, sum(said, ())))
    rows = []
    for item, _, label in items:
        description, *choices = (next(scored).log_probabilities for _ in range(1 + len(LABELS)))
        logs = [choice.item() for choice in choices]
        rows.append(
            {
                "sample_id": sample.sample_id,
                "object_id": item.object_id,
                "nll": -description.sum().item(),
                "tokens": len(description),
                **{f"p_{name}": math.exp(log) for name, log in zip(LABELS, logs, strict=True)},
                "answer": label,
                "chosen": LABELS[int(np.argmax(logs))],
            }
        )
    return rows

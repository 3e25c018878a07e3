"""The test split: perplexity of the descriptions, and four-option questions (section 5.4)."""

import math

import numpy as np
from tqdm import tqdm

from headimpact.prompts import LABELS
from headimpact.scoring import score


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
            raise ValueError(
                f"sampling.images: {len(others)} descriptions of the dataset name nothing in the "
                f"image of object {item.object_id}, three are needed; raise it"
            )
        options = [str(text) for text in rng.choice(others, len(LABELS) - 1, replace=False)]
        options.insert(place, item.description)
        asked.append((options, LABELS[place]))
    return asked


def evaluate(model, family, folder, samples, objects, asked):
    """Score every test object: a list of rows (dict) of kind "metrics".

    asked: what `questions` gave for these objects. The description's negative log-likelihood
    (nll, nats) is summed over its tokens; p_A to p_D are over the whole vocabulary.
    """
    rows, samples = [], samples.set_index("sample_id")
    todo = list(zip(objects.itertuples(), asked, strict=True))
    last, features = None, None
    for item, (options, label) in tqdm(todo, desc="evaluate", unit="object"):
        sample = samples.loc[item.sample_id]
        grid = family.grid(int(sample["width"]), int(sample["height"]))
        if last != item.sample_id:
            (features,) = family.features(model, [folder.image(sample["file_name"])])
            last = item.sample_id
        try:
            told = family.description(grid, item.description)
            said = [told, *family.choices(grid, options)]
            description, *choices = score(model, family, features, grid, said)
        except FloatingPointError as error:
            raise FloatingPointError(f"sample {item.sample_id}: {error}") from error
        logs = [choice.log_probabilities.item() for choice in choices]
        rows.append(
            {
                "sample_id": item.sample_id,
                "object_id": item.object_id,
                "nll": -description.log_probabilities.sum().item(),
                "tokens": len(description.log_probabilities),
                **{f"p_{name}": math.exp(log) for name, log in zip(LABELS, logs, strict=True)},
                "answer": label,
                "chosen": LABELS[int(np.argmax(logs))],
            }
        )
    return rows

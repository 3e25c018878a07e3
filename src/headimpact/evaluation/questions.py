"""Four-option questions about the test objects (section 5.4)."""

from collections.abc import Iterable
from functools import cache

import inflect
import numpy as np
import pandas as pd

from headimpact.guards import UserError
from headimpact.table_kinds import LABELS

ARTICLES = ("a", "an", "the")


def make_questions(
    samples: pd.DataFrame,
    objects: pd.DataFrame,
    annotations: pd.DataFrame,
    descriptions: Iterable[str],
    seed: int,
    wrong_options: str = "random",
) -> pd.DataFrame:
    """Four options for each object: its description and three that name nothing in its image.

    samples, objects: the test items and their images. annotations: all that was found in any
    image, before filters: no wrong option may name a thing that is there. descriptions: those of
    the dataset, from which wrong options are drawn without repeats. Descriptions are compared
    without article, case and number (`normal_form`); how many candidates only that excluded is
    printed. wrong_options: "random" draws them from all candidates, "near" from those that share
    most words with the right option. The right option's place is balanced over A to D.
    Returns a table of kind "questions", the same for the same seed. Raises UserError if fewer
    than three other descriptions are left for an object.
    """
    rng = np.random.default_rng(seed)
    image_of = samples.set_index("sample_id")["image_id"]
    present = annotations.groupby("image_id")["description"].agg(set)
    pool = {normal_form(text): text for text in sorted(descriptions)}
    places = rng.permutation(np.arange(len(objects)) % len(LABELS))
    rows, excluded = [], 0
    for item, place in zip(objects.itertuples(), places, strict=True):
        texts = present[image_of[item.sample_id]]
        names, folded = set(map(normal_form, texts)), {text.casefold() for text in texts}
        others = [text for name, text in pool.items() if name not in names]
        excluded += sum(n in names and text.casefold() not in folded for n, text in pool.items())
        if len(others) < len(LABELS) - 1:
            raise UserError(
                f"annotator: {len(others)} descriptions of the dataset name nothing in the image "
                f"of object {item.object_id}, and three wrong options are needed; take images "
                f"with other things in them, or an annotator that describes them more variously"
            )
        if wrong_options == "near":
            others = _nearest(others, item.description, len(LABELS) - 1, rng)
        options = [str(text) for text in rng.choice(others, len(LABELS) - 1, replace=False)]
        options.insert(place, item.description)
        row = {f"option_{label}": text for label, text in zip(LABELS, options, strict=True)}
        rows.append({"object_id": item.object_id, **row, "answer": LABELS[place]})
    print(
        f"{excluded} wrong options left out that name a thing in the image but for article, "
        f"case or number"
    )
    return pd.DataFrame(rows)


def _nearest(texts: list[str], description: str, count: int, rng: np.random.Generator) -> list[str]:
    """The `count` texts whose words overlap most with the description's; ties are drawn.

    The overlap is the share of the words of either that both have.
    """
    words = set(normal_form(description).split())

    def overlap(text: str) -> float:
        others = set(normal_form(text).split())
        return len(words & others) / len(words | others)

    shuffled = [texts[i] for i in rng.permutation(len(texts))]
    return sorted(shuffled, key=overlap, reverse=True)[:count]


@cache
def normal_form(description: str) -> str:
    """A description in lower case, without its article, each word in the singular."""
    words = description.casefold().split()
    words = words[1:] if words[:1] and words[0] in ARTICLES and len(words) > 1 else words
    return " ".join(map(_singular, words))


@cache
def _singular(word: str) -> str:
    # repeated, since "bus" gives "bu": so does "buses"
    while singular := _inflection().singular_noun(word):
        if singular == word:
            break
        word = singular
    return word


@cache
def _inflection() -> inflect.engine:
    return inflect.engine()

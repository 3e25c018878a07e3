"""The four-option questions and what is recorded of an item."""

import math

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headimpact.evaluate import evaluate, questions
from headimpact.prompts import LABELS


def study(names):
    """One image an item; `names`: a list of what each image holds, the item first."""
    samples = pd.DataFrame({"sample_id": range(len(names)), "image_id": range(10, 10 + len(names))})
    objects = pd.DataFrame(
        {
            "object_id": range(len(names)),
            "sample_id": range(len(names)),
            "description": [there[0] for there in names],
        }
    )
    annotations = pd.DataFrame(
        [
            {"image_id": 10 + i, "description": name}
            for i, there in enumerate(names)
            for name in there
        ]
    )
    return samples, objects, annotations


NAMES = [["A dog", "a cat"], ["a cat"], ["a cup"], ["a tree", "a cup"], ["a car"], ["a boat"]]


@given(st.integers(0, 1000))
def test_no_wrong_option_names_what_is_there(seed):
    samples, objects, annotations = study(NAMES)
    for there, item, (options, label) in zip(
        NAMES,
        objects.itertuples(),
        questions(samples, objects, annotations, objects["description"], seed),
        strict=True,
    ):
        assert options[LABELS.index(label)] == item.description
        wrong = [text for text in options if text != item.description]
        assert len(set(wrong)) == 3
        assert not {text.casefold() for text in wrong} & {name.casefold() for name in there}


def test_the_right_place_is_balanced_and_fixed_by_the_seed():
    samples, objects, annotations = study([[f"a thing {i}"] for i in range(40)])
    names = objects["description"]
    asked = questions(samples, objects, annotations, names, 5)
    assert [[label for _, label in asked].count(label) for label in LABELS] == [10] * 4
    assert asked == questions(samples, objects, annotations, names, 5)
    assert asked != questions(samples, objects, annotations, names, 6)


def test_too_few_descriptions_end_with_the_mend():
    samples, objects, annotations = study([["a dog"], ["a dog"], ["a cat"]])
    with pytest.raises(ValueError, match=r"sampling\.images: 1 descriptions"):
        questions(samples, objects, annotations, objects["description"], 0)


def test_an_items_row(made, photo):
    model, family = made
    samples, objects, annotations = study(NAMES)
    samples = samples.assign(width=72, height=108, file_name="x")

    class Folder:
        def image(self, _name):
            return photo(72, 108)

    asked = questions(samples, objects, annotations, objects["description"], 0)
    rows = evaluate(model, family, Folder(), samples, objects, asked)
    assert [row["object_id"] for row in rows] == list(range(6))
    for row, (_, label) in zip(rows, asked, strict=True):
        shares = [row[f"p_{name}"] for name in LABELS]
        assert row["answer"] == label
        assert row["chosen"] == LABELS[shares.index(max(shares))]
        assert 0 < sum(shares) < 1
        # a random model gives each token about 1 / vocabulary
        assert row["nll"] / row["tokens"] == pytest.approx(math.log(len(family.tokenizer)), abs=2)

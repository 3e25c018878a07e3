"""The four-option questions and what is recorded of an item."""

import copy
import math

import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from headimpact.evaluation.evaluate import evaluate, questions
from headimpact.models.prompts import LABELS
from headimpact.training.lora import add_adapter

LORA = {"rank": 4, "alpha": 8, "dropout": 0, "targets": ["q_proj", "v_proj"]}


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
    runs = {("original", 0): None}
    (rows,) = evaluate(model, family, Folder(), samples, objects, asked, runs)
    assert [row["object_id"] for row in rows] == list(range(6))
    for row, (_, label) in zip(rows, asked, strict=True):
        shares = [row[f"p_{name}"] for name in LABELS]
        assert row["answer"] == label
        assert row["chosen"] == LABELS[shares.index(max(shares))]
        assert 0 < sum(shares) < 1
        # a random model gives each token about 1 / vocabulary
        assert row["nll"] / row["tokens"] == pytest.approx(math.log(len(family.tokenizer)), abs=2)


def test_runs_together_are_each_as_alone(made, photo, tmp_path):
    """Three runs on one model, image by image, against each adapter in a model of its own."""
    model, family = made
    weights = {name: value.clone() for name, value in model.state_dict().items()}
    samples, objects, annotations = study([*NAMES, *([f"thing {i}"] for i in range(14))])
    samples = samples.assign(width=72, height=108, file_name="x")

    class Folder:
        def image(self, _name):
            return photo(72, 108)

    def another():
        clone = copy.deepcopy(model)
        clone.load_state_dict(weights)
        return clone

    runs = {("original", 0): None}
    for number, layers in enumerate(([0, 3], [3, 11])):
        adapted = add_adapter(another(), family, layers, LORA)
        torch.manual_seed(number)
        for name, value in adapted.named_parameters():
            if "lora_B" in name:
                torch.nn.init.normal_(value)
        runs["a.setup", number] = tmp_path / str(number)
        adapted.save_pretrained(runs["a.setup", number])
    objects["sample_id"] = objects["sample_id"] // 2 * 2  # two of an image
    asked = questions(samples, objects, annotations, objects["description"], 0)

    def metrics(runs, **options):
        parts = evaluate(another(), family, Folder(), samples, objects, asked, runs, **options)
        return pd.DataFrame([row for part in parts for row in part])

    together, apart = metrics(runs), metrics(runs, one_pass=False)
    assert len(together) == 3 * len(objects)
    for run, folder in runs.items():
        alone = metrics({run: folder}).sort_values("object_id", ignore_index=True)
        for several in (together, apart):
            mine = several.set_index(["setup", "draw"]).loc[[run]].reset_index()
            mine = mine.sort_values("object_id", ignore_index=True)
            pd.testing.assert_frame_equal(mine, alone, rtol=1e-4)
    means = together.groupby(["setup", "draw"])["nll"].mean()
    assert means.nunique() == 3, "the adapters must differ"

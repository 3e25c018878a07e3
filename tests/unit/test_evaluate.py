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
from headimpact.training.lora import add_adapter, load_adapter

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
    parts = evaluate(model, family, Folder(), samples, objects, asked)
    rows = [row for part in parts for row in part]
    assert [row["object_id"] for row in rows] == list(range(6))
    for row, (_, label) in zip(rows, asked, strict=True):
        shares = [row[f"p_{name}"] for name in LABELS]
        assert row["answer"] == label
        assert row["chosen"] == LABELS[shares.index(max(shares))]
        assert 0 < sum(shares) < 1
        # a random model gives each token about 1 / vocabulary
        assert row["nll"] / row["tokens"] == pytest.approx(math.log(len(family.tokenizer)), abs=2)


def test_one_pass_changes_no_row_and_adapters_do(made, photo, tmp_path):
    """The model as it is and with two adapters, one after the other in the same model."""
    model, family = copy.deepcopy(made[0]), made[1]
    samples, objects, annotations = study([*NAMES, *([f"thing {i}"] for i in range(4))])
    samples = samples.assign(width=72, height=108, file_name="x")

    class Folder:
        def image(self, _name):
            return photo(72, 108)

    objects["sample_id"] = objects["sample_id"] // 2 * 2  # two of an image
    asked = questions(samples, objects, annotations, objects["description"], 0)

    def rows(**options):
        parts = evaluate(model, family, Folder(), samples, objects, asked, **options)
        return pd.DataFrame([row for part in parts for row in part])

    means = []
    for number, layers in enumerate(([], [0, 3], [3, 11])):
        if layers:
            adapted = add_adapter(model, family, layers, LORA)
            torch.manual_seed(number)
            for name, value in adapted.named_parameters():
                if "lora_B" in name:
                    torch.nn.init.normal_(value)
            adapted.save_pretrained(tmp_path / str(number))
            adapted.unload()
            adapted = load_adapter(model, tmp_path / str(number))
        one_pass = rows()
        pd.testing.assert_frame_equal(one_pass, rows(one_pass=False), rtol=1e-4)
        means.append(one_pass["nll"].mean())
        if layers:
            adapted.unload()
    assert len(set(means)) == 3, "the adapters must differ"
    assert rows()["nll"].mean() == means[0], "an adapter that is unloaded must leave no trace"

"""The four-option questions."""

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headimpact.evaluation.questions import make_questions, normal_form
from headimpact.guards import UserError
from headimpact.table_kinds import LABELS

NAMES = [["A dog", "a cat"], ["a cat"], ["a cup"], ["a tree", "a cup"], ["a car"], ["a boat"]]


def study(names):
    """One image an item; `names`: a list of what each image holds, the item first."""
    numbers = range(len(names))
    samples = pd.DataFrame({"sample_id": numbers, "image_id": range(10, 10 + len(names))})
    objects = pd.DataFrame(
        {
            "object_id": numbers,
            "sample_id": numbers,
            "description": [present[0] for present in names],
        }
    )
    annotations = pd.DataFrame(
        [{"image_id": 10 + i, "description": name} for i in numbers for name in names[i]]
    )
    return samples, objects, annotations


def questions(names, seed, **options):
    samples, objects, annotations = study(names)
    return make_questions(samples, objects, annotations, objects["description"], seed, **options)


def options(row):
    return [getattr(row, f"option_{label}") for label in LABELS]


@given(st.integers(0, 1000))
def test_no_wrong_option_names_what_is_in_the_image(seed):
    for present, row in zip(NAMES, questions(NAMES, seed).itertuples(), strict=True):
        assert options(row)[LABELS.index(row.answer)] == present[0]
        wrong = [text for text in options(row) if text != present[0]]
        assert len(set(wrong)) == 3
        assert not {text.casefold() for text in wrong} & {name.casefold() for name in present}


def test_the_right_place_is_balanced_and_fixed_by_the_seed():
    names = [[f"a thing {i}"] for i in range(40)]
    table = questions(names, 5)
    assert table["answer"].value_counts().to_dict() == dict.fromkeys(LABELS, 10)
    assert table.equals(questions(names, 5))
    assert not table.equals(questions(names, 6))


def test_too_few_descriptions_end_with_the_fix():
    with pytest.raises(UserError, match=r"^annotator: 1 descriptions"):
        questions([["a dog"], ["a dog"], ["a cat"]], 0)


@pytest.mark.parametrize(
    ("one", "other"),
    [("Man", "The man"), ("buses", "a bus"), ("two DOGS", "two dog"), ("Glasses", "glass")],
)
def test_descriptions_are_compared_without_article_case_and_number(one, other):
    assert normal_form(one) == normal_form(other)


def test_descriptions_of_other_things_stay_apart():
    texts = ["a dress", "a dog", "a dog house", "the", "a", "a large red circle", "a red circle"]
    assert len(set(map(normal_form, texts))) == len(texts)


def test_no_wrong_option_is_the_right_one_in_other_words(capsys):
    names = [["Man"], ["The man", "Dogs"], ["a cat"], ["a cup"], ["a dog"], ["trees"]]
    for seed in range(20):
        for present, row in zip(names, questions(names, seed).itertuples(), strict=True):
            right = {normal_form(name) for name in present}
            assert sum(normal_form(text) in right for text in options(row)) == 1
    assert "wrong options left out" in capsys.readouterr().out


SCENES = [[f"a {size} {thing}"] for size in ("small", "large") for thing in ("cup", "hat", "tree")]


def test_near_options_share_most_words_with_the_right_one():
    for seed in range(10):
        table = questions([*SCENES, ["a small dog", "a small hat"]], seed, wrong_options="near")
        for present, row in zip(SCENES, table.itertuples(), strict=False):
            _, size, thing = present[0].split()
            wrong = set(options(row)) - {present[0]}
            # three others have its size and one its name: no other shares a word
            near = {name for names in SCENES for name in names if size in name or thing in name}
            near |= {"a small dog"} if size == "small" else set()
            assert wrong <= near
        # what is in the image is no wrong option, however near
        assert "a small hat" not in options(table.iloc[-1])


def test_near_options_are_drawn_among_equals():
    names = [["a small red cup"], *([f"a small red {thing}"] for thing in ("hat", "fox", "dog"))]
    names += [["a large blue tree"], ["a small red ship"], ["a small red door"]]
    drawn = {
        tuple(options(questions(names, seed, wrong_options="near").iloc[0])) for seed in range(9)
    }
    assert len(drawn) > 3 and not any("a large blue tree" in row for row in drawn)

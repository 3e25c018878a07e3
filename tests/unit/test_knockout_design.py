"""What a knockout takes away: layers, rows of a sequence, and tokens of a grid with two tiles."""

import numpy as np
import pandas as pd
import pytest
import torch

from headimpact.knockout_names import ROWS, SOURCES
from headimpact.models.family import Sequence
from headimpact.scores.intervention_design import shuffle_items
from headimpact.scores.knockout_design import row_set, token_sets, window


def test_a_window_is_centred_and_clipped_at_the_ends():
    assert list(window(5, 3, 12)) == [4, 5, 6]
    assert list(window(0, 3, 12)) == [0, 1] and list(window(11, 3, 12)) == [10, 11]
    assert list(window(5, 1, 12)) == [5] and list(window(2, 25, 12)) == list(range(12))
    assert list(window(5, 4, 12)) == [3, 4, 5, 6]


@pytest.mark.parametrize("width", [1, 2, 3, 4, 9, 30])
def test_every_layer_is_in_the_window_around_itself(width):
    assert all(layer in window(layer, width, 12) for layer in range(12))


def test_row_sets_of_a_sequence():
    # two image tokens (9), three prompt tokens, three tokens of the description
    sequence = Sequence((1, 9, 9, 2, 3, 4, 5, 6, 7), start=6)
    branch = range(3, 8)  # the last token of the description predicts nothing
    expected = {
        "description": [5, 6, 7],
        "prompt": [3, 4, 5],
        "last": [5],
        "text": [3, 4, 5, 6, 7],
    }
    assert set(expected) == set(ROWS)
    for rows, indices in expected.items():
        chosen = torch.tensor(branch)[row_set(rows, branch, sequence)]
        assert chosen.tolist() == indices, rows


# Two tiles of 4 rows and 5 columns. The object covers a token of the first tile by half and the
# one to the right of it by less; the other object covers a token in the second tile.
GRID = {"tiles": 2, "rows": 4, "columns": 5}


def coverage(*covered):
    values = np.zeros((2, 4, 5))
    for tile, row, column, share in covered:
        values[tile, row, column] = share
    return values.ravel()


TOKENS = pd.DataFrame(
    [
        {"object_id": 10, **GRID, "coverage": coverage((0, 0, 1, 0.5), (0, 0, 2, 0.25))},
        {"object_id": 11, **GRID, "coverage": coverage((1, 3, 4, 1.0))},
        {"object_id": 12, **GRID, "coverage": coverage((1, 2, 2, 0.25))},
        {"object_id": 13, **GRID, "coverage": coverage((0, 1, 1, 1.0))},
    ]
)
OBJECTS = pd.DataFrame(
    {
        "object_id": [10, 11, 12, 13],
        "sample_id": [1, 1, 2, 3],
        "description": ["a dog", "a cat", "a cup", "a cat"],
    }
)


def places(mask):
    return [tuple(place) for place in np.argwhere(mask.reshape(2, 4, 5)).tolist()]


def box(tile, rows, columns):
    return [(tile, row, column) for row in rows for column in columns]


def test_sources_of_an_object_on_a_grid_with_tiles():
    sets = token_sets(TOKENS, OBJECTS, [10], seed=0)[10]
    assert set(sets) == set(SOURCES)
    assert places(sets["object"]) == [(0, 0, 1)]
    assert places(sets["object_any"]) == [(0, 0, 1), (0, 0, 2)]
    assert places(sets["object_ring"]) == box(0, (0, 1), (0, 1, 2))
    assert places(sets["object_two_rings"]) == box(0, (0, 1, 2), (0, 1, 2, 3))
    assert sets["image"].all() and len(sets["image"]) == 40
    assert (sets["background"] == ~sets["object_any"]).all()
    # a ring ends at the edge of its tile
    assert places(sets["other_object"]) == box(1, (2, 3), (3, 4))
    assert sets["random"].sum() == sets["object_ring"].sum() == 6


def test_what_the_object_covers_is_not_the_other_object_s():
    near = TOKENS.copy()
    near["coverage"] = [TOKENS["coverage"][0], TOKENS["coverage"][3], *TOKENS["coverage"][2:]]
    sets = token_sets(near, OBJECTS, [10], seed=0)[10]
    expected = set(box(0, (0, 1, 2), (0, 1, 2))) - {(0, 0, 1), (0, 0, 2)}
    assert set(places(sets["other_object"])) == expected


def test_a_source_without_a_token_is_left_out():
    sets = token_sets(TOKENS, OBJECTS, [12, 13], seed=0)
    assert set(sets[12]) == {"object_any", "background", "image"}  # nothing is covered by half
    assert set(sets[13]) == set(SOURCES) - {"other_object"}  # alone in its image


def test_an_object_of_an_equal_description_is_no_other_object():
    equal = OBJECTS.assign(description="A dog")
    assert "other_object" not in token_sets(TOKENS, equal, [10], seed=0)[10]


def test_random_tokens_follow_the_seed_and_the_object_alone():
    both = token_sets(TOKENS, OBJECTS, [13, 10], seed=5)
    alone = token_sets(TOKENS, OBJECTS, [10], seed=5)
    assert (both[10]["random"] == alone[10]["random"]).all()
    drawn = {token_sets(TOKENS, OBJECTS, [10], seed)[10]["random"].tobytes() for seed in range(9)}
    assert len(drawn) > 5
    same = TOKENS.assign(coverage=[TOKENS["coverage"][0]] * 4)
    drawn = {
        sets["random"].tobytes() for sets in token_sets(same, OBJECTS, [10, 11, 12], 5).values()
    }
    assert len(drawn) == 3


SAMPLES = pd.DataFrame({"sample_id": range(20), "split": "impact"})
MANY = pd.DataFrame({"object_id": range(60), "sample_id": np.arange(60) % 30})


def test_items_are_objects_of_the_samples_one_an_image():
    items = shuffle_items(SAMPLES, MANY, "impact", 0)
    assert sorted(items["sample_id"]) == list(range(20))
    assert set(items["object_id"]) <= set(MANY["object_id"])
    assert (items["object_id"] % 30 == items["sample_id"]).all()
    assert set(items["object_id"] // 30) == {0, 1}  # not always an image's first object


def test_the_order_of_items_depends_on_the_seed_alone():
    order = shuffle_items(SAMPLES, MANY, "impact", 3)["object_id"].tolist()
    assert shuffle_items(SAMPLES, MANY, "impact", 3)["object_id"].tolist() == order
    assert shuffle_items(SAMPLES, MANY, "impact", 4)["object_id"].tolist()[:5] != order[:5]

"""Orders of heads, and the sets of heads that their curves take away."""

import numpy as np
import pytest

from headimpact.scores.head_orders import (
    DEPTH,
    RANDOM,
    ablated_sets,
    first_heads,
    head_orders,
    resolve_counts,
)
from headimpact.scores.inputs import Scores, scores_table

VALUES = np.array([[0.1, 0.4], [0.3, 0.2]])


def table(values=VALUES):
    return scores_table("s", Scores(np.asarray(values)))


def orders(higher_is_better=True, random_orders=10, seed=0, values=VALUES):
    return head_orders({"s": table(values)}, [higher_is_better], random_orders, seed)


@pytest.mark.parametrize(("higher", "expected"), [(True, [1, 2, 3, 0]), (False, [0, 3, 2, 1])])
def test_the_best_head_is_first_whichever_direction_is_better(higher, expected):
    assert orders(higher)["s"].tolist() == [expected]


@pytest.mark.parametrize("higher", [True, False])
def test_equal_scores_come_in_the_order_of_depth(higher):
    values = np.array([[0.3, 0.1 + 0.2], [0.3, 0.3]])  # 0.1 + 0.2 is not 0.3 in floating point
    assert orders(higher, values=values)["s"].tolist() == [[0, 1, 2, 3]]


def test_a_shuffled_table_gives_the_same_order():
    shuffled = table().sample(frac=1, random_state=1)
    assert (head_orders({"s": shuffled}, [True], 1, 0)["s"] == orders()["s"]).all()


def test_the_depth_order_goes_through_the_layers():
    assert orders()[DEPTH].tolist() == [[0, 1, 2, 3]]


def test_random_orders_follow_from_the_seed_and_not_from_their_number():
    values = np.zeros((4, 4))
    ten, three = orders(values=values)[RANDOM], orders(values=values, random_orders=3)[RANDOM]
    assert (ten[:3] == three).all()
    assert len(np.unique(ten, axis=0)) == 10
    assert (np.sort(ten) == np.arange(16)).all()
    assert (ten != orders(values=values, seed=1)[RANDOM]).any(1).all()


def test_counts_are_heads_or_shares_of_all_heads():
    assert resolve_counts([8, 0.25, 2, 0.5, 4], 32) == [1, 2, 4, 8, 16]


def test_counts_that_a_decoder_does_not_have_are_left_out():
    assert resolve_counts([2, 8, 12, 0.01, 0.99], 8) == [1, 2]


def test_the_first_heads_are_those_of_the_order():
    assert first_heads(np.array([2, 0, 1, 3]), 2).tolist() == [True, False, True, False]


def test_a_set_that_several_orders_share_is_there_once():
    same = {"s": np.array([[0, 1, 2, 3]]), "t": np.array([[1, 0, 2, 3]])}
    sets = ablated_sets(same, [1, 2])
    expected = {
        *((True, False, False, False), (False, True, False, False)),  # the first head
        *((False, True, True, True), (True, False, True, True)),  # all but it
        *((True, True, False, False), (False, False, True, True)),  # shared by both
        (True, True, True, True),
    }
    assert len(sets) == len(expected)
    assert set(map(tuple, sets.tolist())) == expected

"""The layers that each way to choose them gives."""

from collections import Counter
from dataclasses import replace
from itertools import combinations

import numpy as np
import pandas as pd
import pytest
from scipy.stats import chi2

from headimpact.guards import UserError
from headimpact.scores import layers
from headimpact.scores.layers import Decoder, layer_scores

SCORES = np.array([0.5, 0.1, 0.9, 0.3, 0.3, 0.7])
SIX = Decoder(6, SCORES)


def table(**columns):
    heads = {"layer": [1, 1, 0, 0], "head": [0, 1, 0, 1], "value": [0.2, 0.4, 1.0, 0.0]}
    return pd.DataFrame({"score": "a", **heads, **columns})


def test_layer_scores_are_means_over_heads():
    assert layer_scores(table()).tolist() == [0.5, pytest.approx(0.3)]
    assert layer_scores(table(layer=[3, 2, 0, 1], head=None)).tolist() == [1.0, 0.0, 0.4, 0.2]


def test_two_scores_are_never_averaged():
    with pytest.raises(UserError, match="a, b in one table"):
        layer_scores(table(score=["a", "a", "b", "b"]))
    with pytest.raises(UserError, match="a head stands twice"):
        layer_scores(pd.concat([table(), table()]))


def test_top_and_bottom_take_the_earlier_layer_of_a_tie():
    assert layers.top(SIX, 2) == [2, 5]
    assert layers.top(SIX, 4) == [0, 2, 3, 5]
    assert layers.bottom(SIX, 2) == [1, 4]
    assert layers.every(SIX) == [0, 1, 2, 3, 4, 5]
    assert layers.none(SIX) == []
    assert all(type(layer) is int for layer in layers.top(SIX, 2))


def draws_of(choose, decoder, number, **options):
    """The layers of the draws 0, 1, 2, ... as tuples."""
    decoders = [replace(decoder, draw=draw) for draw in range(number)]
    return [tuple(choose(drawn, **options)) for drawn in decoders]


def matching_sets(total, target):
    """All sets that `matched` may draw, by trying every set of as many layers."""
    return {
        layers
        for layers in combinations(range(total), len(target))
        if layers != tuple(target)
        and all(abs(a - b) <= 2 for a, b in zip(layers, target, strict=True))
    }


def test_first_last_and_uniform_depend_on_the_depth_alone():
    twelve = Decoder(12)
    assert layers.first(twelve, 4) == [0, 1, 2, 3]
    assert layers.last(twelve, 4) == [8, 9, 10, 11]
    assert layers.uniform(twelve, 4) == [1, 4, 7, 10]
    assert layers.uniform(twelve, 1) == [6] and layers.uniform(Decoder(26), 2) == [6, 19]
    for choose in (layers.first, layers.last, layers.uniform):
        assert choose(Decoder(5), 5) == [0, 1, 2, 3, 4]
        with pytest.raises(UserError, match="need a decoder of 6, this one has 5"):
            choose(Decoder(5), 6)


def test_random_draws_are_all_sets_in_turn_and_then_begin_again():
    sets = set(combinations(range(6), 3))
    draws = draws_of(layers.random, Decoder(6, seed=0), 2 * len(sets), count=3)
    assert len(sets) == 20 and set(draws[:20]) == sets
    assert draws[20:] == draws[:20]
    assert draws != draws_of(layers.random, Decoder(6, seed=1), 40, count=3)


def test_the_papers_random_draws_avoid_top_and_bottom():
    decoder = Decoder(12, np.arange(12.0)[::-1], seed=0)
    draws = draws_of(layers.random, decoder, 28, count=2, rule="paper")
    assert set(draws) == set(combinations(range(2, 10), 2))
    # four of twelve layers are left, so that every draw has these
    scores = np.array([0, 1, 2, 3, 9, 9, 9, 9, 5, 5, 5, 5.0])
    draws = draws_of(layers.random, Decoder(12, scores, seed=0), 3, count=4, rule="paper")
    assert draws == [(8, 9, 10, 11)] * 3


@pytest.mark.parametrize(
    ("total", "target"),
    [(6, [0, 1, 2]), (12, [1, 3, 4, 5]), (12, [3]), (7, [0, 1, 2, 3, 5, 6]), (9, [0, 8])],
)
def test_matched_draws_are_all_sets_within_two_layers_in_turn(total, target):
    expected = matching_sets(total, target)
    decoder = Decoder(total, seed=3, matched_layers=target)
    draws = draws_of(layers.matched, decoder, 2 * len(expected), to="top")
    assert set(draws[: len(expected)]) == expected and len(expected) > 3
    assert draws[len(expected) :] == draws[: len(expected)]


def test_a_draw_does_not_depend_on_the_draws_after_it():
    """The draws of layers.json are computed one by one, and the target's scores play no part."""
    decoder = Decoder(26, seed=0, draw=7, matched_layers=[6, 8, 9, 11])
    assert layers.matched(decoder, "top") == layers.matched(replace(decoder, scores=-SCORES), "top")
    for choose, options in ((layers.random, {"count": 4}), (layers.matched, {"to": "top"})):
        draws = draws_of(choose, decoder, 12, **options)
        assert tuple(choose(decoder, **options)) == draws[7] and len(set(draws)) == 12
        assert draws_of(choose, decoder, 5, **options) == draws[:5]


def test_all_sets_are_equally_probable():
    """Chi-squared statistics of draw 0 and of draw 1 over 4000 seeds, below the 99.9 % point."""
    for choose, options, sets in (
        (layers.random, {"count": 2}, set(combinations(range(6), 2))),
        (layers.matched, {"to": "top"}, matching_sets(6, [1, 2, 5])),
    ):
        for draw in (0, 1):
            decoders = [
                Decoder(6, seed=seed, draw=draw, matched_layers=[1, 2, 5]) for seed in range(4000)
            ]
            counts = Counter(tuple(choose(decoder, **options)) for decoder in decoders)
            expected = len(decoders) / len(sets)
            assert counts.keys() == sets
            statistic = sum((count - expected) ** 2 for count in counts.values()) / expected
            assert statistic < chi2.ppf(0.999, len(sets) - 1)


def test_sets_of_a_large_decoder_are_drawn_without_trying_them():
    half = layers.random(Decoder(80, seed=0), 40)
    assert len(set(half)) == 40 and half == sorted(half)
    # 39 of 40 layers: each set lacks one layer, and the target lacks the last
    target = list(range(39))
    draws = draws_of(layers.matched, Decoder(40, seed=0, matched_layers=target), 39, to="top")
    assert {tuple({*range(40)} - {*drawn}) for drawn in draws} == {(layer,) for layer in target}


def test_a_setup_without_other_layers_near_it_is_refused():
    decoder = Decoder(12, seed=0, setup="matched-12", matched_layers=[*range(12)])
    with pytest.raises(UserError) as error:
        layers.matched(decoder, "every")
    assert str(error.value) == (
        "setups.matched-12.to: every trains 12 of 12 layers, and no others lie within 2 of them; "
        "name a setup that trains fewer"
    )


def test_a_decoder_with_too_few_layers_is_refused():
    with pytest.raises(UserError, match="need a decoder of 9, this one has 6"):
        layers.random(SIX, 3, "paper")
    with pytest.raises(UserError, match="need a decoder of 7, this one has 6"):
        layers.random(SIX, 7)
    with pytest.raises(UserError, match="need a decoder of more than 6"):
        layers.listed(SIX, [2, 6])


def test_the_papers_layers_are_those_of_its_table_3(monkeypatch):
    wanted = Decoder(26, published="PaliGemma2", setup="top-4")
    monkeypatch.chdir(__file__.partition("/tests/")[0])
    assert layers.published(wanted) == [6, 8, 9, 11]
    with pytest.raises(UserError, match="no layers of Qwen3, top-4"):
        layers.published(Decoder(26, published="Qwen3", setup="top-4"))
    with pytest.raises(UserError, match="need a decoder of more than 11"):
        layers.published(Decoder(11, published="PaliGemma2", setup="top-4"))

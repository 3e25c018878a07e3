"""The layers that each way to choose them gives."""

import numpy as np
import pandas as pd
import pytest

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


def test_random_draws_avoid_top_and_bottom_and_differ():
    def draws():
        decoders = [Decoder(12, np.arange(12.0), seed=0, draw=draw) for draw in range(8)]
        return [tuple(layers.random(decoder, 2)) for decoder in decoders]

    assert all(2 <= layer < 10 for drawn in draws() for layer in drawn)
    assert len(set(draws())) > 4
    assert draws() == draws()


def test_a_decoder_with_too_few_layers_is_refused():
    with pytest.raises(UserError, match="need a decoder of 9, this one has 6"):
        layers.random(SIX, 3)
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

import numpy as np
import pandas as pd
import pytest

from headimpact.scores.layers import choose, layer_scores

MEANS = np.array([0.5, 0.1, 0.9, 0.3, 0.3, 0.7])


def test_layer_scores_are_means_over_heads():
    scores = pd.DataFrame(
        {"layer": [1, 1, 0, 0], "head": [0, 1, 0, 1], "value": [0.2, 0.4, 1.0, 0.0]}
    )
    assert layer_scores(scores).tolist() == [0.5, pytest.approx(0.3)]


def test_top_and_bottom():
    assert choose({"layers": "top", "count": 2}, 6, MEANS) == [2, 5]
    assert choose({"layers": "bottom", "count": 2}, 6, MEANS) == [1, 4]
    assert choose({"layers": "all"}, 6) == [0, 1, 2, 3, 4, 5]
    assert choose({"layers": "none"}, 6) == []


def test_random_draws_avoid_top_and_bottom_and_differ():
    means = np.arange(12.0)
    setup = {"layers": "random", "count": 2}
    draws = [tuple(choose(setup, 12, means, draw)) for draw in range(8)]
    assert all(2 <= layer < 10 for layers in draws for layer in layers)
    assert len(set(draws)) > 4
    assert draws == [tuple(choose(setup, 12, means, draw)) for draw in range(8)]


def test_a_decoder_with_too_few_layers_is_refused():
    with pytest.raises(ValueError, match="want a decoder of 9, not 6"):
        choose({"layers": "random", "count": 3}, 6, MEANS)

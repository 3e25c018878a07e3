"""Metrics by hand, and the shape that a metric of one's own has."""

import math

import numpy as np
import pandas as pd
import pytest

from headimpact.evaluation import metrics
from headimpact.evaluation.metrics import Metric, load_metrics
from headimpact.guards import UserError

PROBABILITIES = {"A": [0.4, 0.1], "B": [0.2, 0.3], "C": [0.1, 0.1], "D": [0.1, 0.0001]}
ITEMS = pd.DataFrame(
    {
        "log_probability": [-3.0, -1.0],
        "tokens": [2, 1],
        **{f"log_{x}": [math.log(p) for p in values] for x, values in PROBABILITIES.items()},
        "answer": ["B", "B"],
    }
)


def test_values_of_items_by_hand():
    assert metrics.accuracy(ITEMS).tolist() == [0, 1]
    assert metrics.answer_probability(ITEMS, "vocabulary") == pytest.approx([0.2, 0.3])
    assert metrics.answer_probability(ITEMS, "labels") == pytest.approx([0.25, 0.3 / 0.5001])
    assert metrics.token_losses(ITEMS).tolist() == [1.5, 1.0]
    odds = [0.2 / 0.6, 0.3 / 0.2001]
    assert metrics.log_odds(ITEMS) == pytest.approx(np.log(odds))


def test_log_odds_of_labels_that_are_all_improbable_are_finite():
    logs = pd.DataFrame({f"log_{x}": ITEMS[f"log_{x}"] - 2000 for x in "ABCD"})
    improbable = ITEMS.assign(**logs)
    assert metrics.log_odds(improbable) == pytest.approx(metrics.log_odds(ITEMS))


def test_an_error_is_clustered_by_image_and_perplexity_is_the_exponential_of_the_mean():
    value, error = metrics.PERPLEXITY.aggregate(np.array([1.0, 2.0]), np.array([0, 1]))
    assert value == pytest.approx(math.exp(1.5))
    assert error == pytest.approx(math.exp(1.5) * 0.5)
    value, error = metrics.ACCURACY.aggregate(np.array([1.0, 1.0, 0.0]), np.array([0, 0, 1]))
    # residual sums 2/3 and -2/3: sqrt(8 / 9) / 3 * sqrt(2)
    assert (value, error) == (pytest.approx(2 / 3), pytest.approx(math.sqrt(8 / 9) / 3 * 2**0.5))


def test_shifts_of_perplexity_are_headed_as_logarithms():
    assert metrics.PERPLEXITY.shift_heading == "log perplexity (nats a token)"
    assert metrics.ACCURACY.shift_heading == "Accuracy (share)"
    assert Metric("Confidence", metrics.accuracy).shift_heading == "Confidence"


def test_a_metric_gets_its_options_and_one_value_an_item():
    settings = {"p": {"kind": "answer_probability", "options": {"share_of": "vocabulary"}}}
    assert load_metrics(settings)["p"].of_items(ITEMS) == pytest.approx([0.2, 0.3])
    with pytest.raises(UserError, match="metric Short"):
        Metric("Short", lambda items: items["tokens"].to_numpy()[:1]).of_items(ITEMS)

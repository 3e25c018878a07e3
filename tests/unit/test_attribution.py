"""Scores from rows of interventions: single ablation, head attribution, and its checks."""

import numpy as np
import pandas as pd
import pytest

from headimpact.guards import UserError
from headimpact.scores.ablation import ablation
from headimpact.scores.attention import pack
from headimpact.scores.attribution import Regression, attribution
from headimpact.scores.attribution_checks import attribution_checks
from headimpact.scores.inputs import ScoreInputs, scores_of_table, scores_table
from headimpact.scores.interventions import outcome_values, read_heads
from headimpact.statistics import in_second_half

LAYERS, HEADS = 3, 4
COEFFICIENTS = np.random.default_rng(9).normal(size=LAYERS * HEADS)
# the object of an item is not its image
OBJECTS = pd.DataFrame({"object_id": np.arange(100), "sample_id": np.arange(100) + 1000})


def make_rows(design, item, ablated, value):
    """Rows of a design in an item; the log-probability of the description is `value`."""
    return pd.DataFrame(
        {
            "object_id": item,
            "design": design,
            "variant": "zero",
            "layers": LAYERS,
            "heads": HEADS,
            "ablated": pack(ablated.reshape(len(ablated), -1)),
            "log_probability": value,
            "tokens": 4,
            "kl": -value,
            **{f"log_{label}": np.nan for label in "ABCD"},
            "answer": None,
            "passes": 0.5,
        }
    )


def linear_rows(noise=0.0, items=10, masks=12, seed=0, fresh=6, coefficients=COEFFICIENTS):
    """Outcomes that are a number of the item plus the coefficients of the heads that are kept."""
    rng, tables = np.random.default_rng(seed), []
    for item in range(items + fresh):
        kept = rng.random((masks, LAYERS * HEADS)) < (0.3 if item < items else 0.5)
        value = 5 * rng.normal() + kept @ coefficients + noise * rng.normal(size=masks)
        design = "random" if item < items else "fresh"
        tables.append(make_rows(design, item, ~kept, value))
        tables.append(
            make_rows("none", item, np.zeros((1, LAYERS * HEADS), bool), np.array([99.0]))
        )
    return pd.concat(tables, ignore_index=True)


def inputs_of(rows):
    return ScoreInputs(samples=None, objects=OBJECTS, interventions=rows)


def test_heads_are_read_back_from_their_bits():
    heads = np.random.default_rng(1).random((5, LAYERS, HEADS)) < 0.5
    assert (read_heads(make_rows("random", 0, heads, np.zeros(5))) == heads).all()


@pytest.mark.parametrize("outcome", ["log_probability", "kl"])
def test_linear_outcomes_are_recovered_exactly(outcome):
    scores = attribution(inputs_of(linear_rows()), outcome)
    assert scores.value.shape == (LAYERS, HEADS) and scores.n == 10
    assert scores.value.ravel() == pytest.approx(COEFFICIENTS, abs=1e-10)
    assert (scores.standard_error < 1e-10).all() and (scores.null == 0).all()


def test_each_half_is_the_attribution_of_its_images():
    rows = linear_rows(noise=1.0)
    scores = attribution(inputs_of(rows), "log_probability")
    second = in_second_half(np.arange(10))
    for half, value in zip((~second, second), scores.halves, strict=True):
        alone = attribution(inputs_of(rows[rows["object_id"].isin(half.nonzero()[0])]), "kl")
        assert value == pytest.approx(alone.value, abs=1e-10)


def test_halves_too_small_for_a_regression_are_left_out():
    # twelve coefficients from 6 x 4 rows of all images, and from 3 x 4 - 3 of a half
    scores = attribution(inputs_of(linear_rows(items=6, masks=4)), "log_probability")
    assert scores.halves is None


def test_the_cost_is_that_of_the_rows_of_the_design():
    rows = linear_rows(items=10, masks=12, fresh=0)
    assert attribution(inputs_of(rows), "kl").cost == 0.5 * (10 * 12 + 10)


def test_centred_rows_equal_an_intercept_for_each_item():
    rows = linear_rows(noise=1.0)
    regression = Regression.of_rows(rows, OBJECTS, "log_probability", "random")
    random = rows[rows["design"] == "random"]
    kept = 1.0 - read_heads(random).reshape(len(random), -1)
    intercepts = np.equal.outer(random["object_id"].to_numpy(), np.arange(10)).astype(float)
    full = np.linalg.lstsq(np.hstack([kept, intercepts]), random["log_probability"])[0]
    assert regression.coefficients() == pytest.approx(full[: LAYERS * HEADS], abs=1e-10)
    # an image that counts twice is one whose rows stand there twice
    counts = np.array([2, 1, 1, 0, 1, 1, 3, 1, 0, 1])
    repeated = np.repeat(np.arange(len(random)), counts[random["object_id"]])
    twice = np.linalg.lstsq(
        np.hstack([kept, intercepts])[repeated], random["log_probability"].to_numpy()[repeated]
    )[0]
    assert regression.coefficients(counts) == pytest.approx(twice[: LAYERS * HEADS], abs=1e-8)


def test_the_standard_error_is_the_spread_over_new_images():
    estimates, errors = [], []
    for seed in range(60):
        scores = attribution(inputs_of(linear_rows(noise=1.0, items=30, seed=seed)), "kl")
        estimates.append(scores.value)
        errors.append(scores.standard_error)
    assert np.mean(errors) == pytest.approx(np.std(estimates, axis=0).mean(), rel=0.1)


def test_the_table_of_an_attribution_holds_its_draws_of_images():
    scores = attribution(inputs_of(linear_rows(noise=1.0)), "log_probability")
    drawn = scores_of_table(scores_table("attribution", scores)).resampled
    assert drawn.std(0, ddof=1) == pytest.approx(scores.standard_error, rel=1e-5)
    assert drawn.mean(0) == pytest.approx(scores.value, abs=0.5)


def test_more_coefficients_than_rows_are_refused():
    # the intercepts take a row of each item
    with pytest.raises(UserError, match="12 sets of heads in 1 images cannot determine 12"):
        attribution(inputs_of(linear_rows(items=1)), "log_probability")


def test_an_ablated_head_has_the_mean_loss_of_the_items():
    losses = np.random.default_rng(2).normal(size=(3, LAYERS, HEADS))
    single = np.eye(LAYERS * HEADS, dtype=bool)
    tables = []
    for item, loss in zip((7, 4, 5), losses, strict=True):
        order = np.random.default_rng(item).permutation(LAYERS * HEADS)
        tables.append(make_rows("none", item, single[:1] & False, np.array([3.0 * item])))
        tables.append(make_rows("single", item, single[order], 3.0 * item - loss.ravel()[order]))
    # a head of random sets does not count
    tables.append(make_rows("random", 7, single, np.full(len(single), 99.0)))
    scores = ablation(inputs_of(pd.concat(tables)), "log_probability")
    assert scores.value == pytest.approx(losses.mean(0))
    assert scores.standard_error == pytest.approx(losses.std(0, ddof=1) / np.sqrt(3))
    assert scores.n == 3 and scores.images.tolist() == [1004, 1005, 1007]


def test_the_margin_is_that_of_the_right_label_over_the_best_wrong_one():
    rows = pd.DataFrame([[-1.0, -2, -3, -4, "A"], [-1, -2.5, -3, -4, "C"]])
    rows.columns = [*(f"log_{label}" for label in "ABCD"), "answer"]
    assert outcome_values(rows, "margin") == pytest.approx([1, -2])


def test_checks_of_linear_outcomes_are_perfect():
    table = attribution_checks(linear_rows(), OBJECTS, ["description"])
    assert table["outcome"].tolist() == ["log_probability", "kl"]
    assert (table[["items", "rows", "fresh_items", "top"]] == [10, 120, 6, 3]).all(axis=None)
    for name in ("fresh_correlation", "half_correlation", "half_overlap"):
        for column in (name, f"{name}_low", f"{name}_high"):
            assert table[column].to_numpy() == pytest.approx(1), column
    assert (table["passes"] == 0.5 * 16 * 13).all()


def test_checks_of_noise_are_those_of_chance():
    tables = []
    for seed in range(8):
        rows = linear_rows(1.0, items=40, fresh=40, seed=seed, coefficients=0 * COEFFICIENTS)
        tables.append(attribution_checks(rows, OBJECTS, ["description"]).iloc[:1])
    table = pd.concat(tables)
    assert table["fresh_correlation"].mean() == pytest.approx(0, abs=0.06)
    assert table["half_correlation"].mean() == pytest.approx(0, abs=0.2)
    assert table["half_overlap"].mean() == pytest.approx(0.25, abs=0.1)
    # 40 images with 12 sets of heads each, and an intercept an image
    width = (table["fresh_correlation_high"] - table["fresh_correlation_low"]).mean()
    assert width == pytest.approx(2 * 1.96 / np.sqrt(40 * 11), rel=0.2)
    assert (table["half_correlation_low"] < 0).all() and (table["half_correlation_high"] > 0).all()


def test_fresh_rows_do_not_change_the_coefficients():
    rows = linear_rows(noise=1.0)
    changed = rows.assign(
        log_probability=rows["log_probability"].where(rows["design"] == "random", 0.0)
    )
    expected = attribution(inputs_of(rows), "log_probability").value
    assert (attribution(inputs_of(changed), "log_probability").value == expected).all()

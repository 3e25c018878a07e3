"""Answers of runs that were never made, and their paired shifts."""

import numpy as np
import pandas as pd

from headimpact.evaluation.metrics import load_metrics
from headimpact.report.shifts import table4_shifts

METRICS = load_metrics({"perplexity": {"kind": "perplexity", "options": {}}})
ALL_METRICS = load_metrics(
    {name: {"kind": name, "options": {}} for name in ("accuracy", "perplexity", "log_odds")}
)
LAYERS = {"top": [0, 1], "full": [0, 1, 2], "original": []}


def items(losses, images=None, odds=0.0):
    """Test items of two tokens with these losses a token, and these log-odds of the right label."""
    losses = np.asarray(losses, dtype=float)
    table = pd.DataFrame(
        {
            "sample_id": range(len(losses)) if images is None else images,
            "object_id": range(len(losses)),
            "log_probability": -2 * losses,
            "tokens": 2,
            "answer": "B",
        }
    )
    logs = {f"log_{label}": -np.log(3) for label in "ACD"} | {"log_B": odds}
    return table.assign(**logs)


def shifts_of(runs, metrics=METRICS, tops=("top",), layers=None):
    """The shifts of a model M, from {setup: items, or a list of them, a draw each}."""
    runs = {
        (setup, "default", draw): table
        for setup, draws in runs.items()
        for draw, table in enumerate(draws if isinstance(draws, list) else [draws])
    }
    layers = layers or {(setup, draw): LAYERS.get(setup, [5, 6 + draw]) for setup, _, draw in runs}
    return table4_shifts({"M": runs}, metrics, {"M": layers}, tops)


def row(shifts, comparison, setup, against, draw=None):
    """The only row of a comparison."""
    chosen = shifts.query("comparison == @comparison and setup == @setup and against == @against")
    chosen = chosen[chosen["draw"].isna() if draw is None else chosen["draw"] == draw]
    assert len(chosen) == 1
    return chosen.iloc[0]


BASE = np.array([1.0, 2.0, 1.5, 2.5])
RUNS = {
    "original": items(BASE),
    "top": items(BASE - [0.1, 0.2, 0.3, 0.4]),
    "random": [items(BASE - 0.1), items(BASE + 0.5)],
}


def simulated(planted, spread=0.0, images=100, planted_in_full=0.0):
    """Runs on images of two items: `full` does what the original does, but for noise."""
    rng, image = np.random.default_rng(0), np.repeat(np.arange(images), 2)
    base = 2 + rng.normal(0, 1, images)[image] + rng.normal(0, 0.3, len(image))

    def run(effect):
        noise = rng.normal(0, 0.1, images)[image] + rng.normal(0, 0.1, len(image))
        return items(base + effect + noise, image, odds=3 - 3 * (effect + noise))

    return {
        "original": run(0),
        "top": run(planted),
        "full": run(planted_in_full),
        "random": [run(draw * spread) for draw in (-1, 0, 1)],
    }

"""A study with a second learning rate: its runs, and Figure 6 of them."""

import json
import shutil

import pandas as pd
import pytest
from projects import tiny

RUNS = [(variant, draw) for variant in ("default", "fast") for draw in (0, 1)]


@pytest.fixture(scope="module")
def two_rates(project, checkpoints):
    config = tiny(checkpoints, "idefics3")
    study = config["studies"]["tiny"]
    study["setups"] = {
        "original": {"layers": "none"},
        "top-2": {"layers": "top", "count": 2, "draws": 2},
    }
    study["variants"] = {"fast": {"learning_rate": 0.05}}
    made = project(config)
    made.run("results/tiny/figure6.svg")
    return made


def folder(made, variant, draw):
    return made.folder / f"results/tiny/idefics3/top-2/{variant}/{draw}"


def test_every_variant_and_draw_is_a_run_with_its_own_rate_seed_and_weights(two_rates):
    table = pd.read_csv(two_rates.folder / "results/tiny/forgetting.csv")
    rows = table[["variant", "draw", "learning_rate", "seed"]].to_numpy().tolist()
    assert rows == [
        [variant, draw, {"default": 0.001, "fast": 0.05}[variant], draw] for variant, draw in RUNS
    ]
    assert table["layers"].nunique() == 1 and table["log_perplexity_change"].is_unique
    weights = {
        (folder(two_rates, *run) / "adapter/adapter_model.safetensors").read_bytes() for run in RUNS
    }
    assert len(weights) == len(RUNS)
    trainings = [
        json.loads((folder(two_rates, *run) / "history.json").read_text())["training"]
        for run in RUNS
    ]
    assert [[values["learning_rate"], values["seed"]] for values in trainings] == [
        row[2:] for row in rows
    ]


def test_a_run_that_is_missing_is_made_again_alone_and_is_the_same(two_rates):
    table = two_rates.folder / "results/tiny/forgetting.csv"
    before = table.read_text()
    shutil.rmtree(folder(two_rates, "fast", 1))
    (two_rates.folder / "results/tiny/figure6.svg").unlink()
    planned = two_rates.planned("results/tiny/figure6.svg")
    assert planned == {"finetune": 1, "evaluate": 1, "figure6": 1}
    two_rates.run("results/tiny/figure6.svg")
    assert table.read_text() == before
    assert two_rates.planned("results/tiny/figure6.svg") == {}


def test_without_perplexity_or_the_model_as_it_is_there_is_no_figure_6(two_rates):
    before = two_rates.config
    study = before["studies"]["tiny"]
    trained_alone = {"top-2": study["setups"]["top-2"]}
    try:
        for change in ({"metrics": {"accuracy": {}}}, {"setups": trained_alone}):
            two_rates.configure({**before, "studies": {"tiny": study | change}})
            assert "figure6" not in two_rates.planned()
            line = two_rates.refused("results/tiny/figure6.svg")
            assert line.startswith("config.yaml: studies.tiny: has no figure 6")
    finally:
        two_rates.configure(before)

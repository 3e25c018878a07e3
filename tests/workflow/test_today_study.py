"""The study `today` in config.yaml: counted and planned without a network."""

import copy
import re

import pandas as pd
import pytest
import yaml
from projects import ROOT

CONFIG = yaml.safe_load((ROOT / "config.yaml").read_text())
MODELS = CONFIG["studies"]["today"]["models"]
EVERYTHING = [
    *(f"results/today/table{number}.csv" for number in (1, 2, 3, 4, 5)),
    *(f"results/today/figure{number}.svg" for number in (2, 4, 5, 6)),
    *("results/today/nulls.csv", "results/today/top_stability.csv"),
]


@pytest.fixture(scope="module")
def shipped(project):
    """config.yaml as it is shipped, in a copy of the workflow."""
    return project(CONFIG)


def test_tables_1_and_5_are_counted_without_a_checkpoint_or_a_network(shipped):
    shipped.run("results/today/table1.csv", "results/today/table5.csv")
    assert not shipped.connections.exists()
    sizes = pd.read_csv(shipped.folder / "results/today/table1.csv").set_index("model")
    assert list(sizes.index) == [model["title"] for model in MODELS.values()]
    assert sizes.loc["InternVL3"].tolist() == [938_193_024, 24, 14]
    trainable = pd.read_csv(shipped.folder / "results/today/table5.csv").set_index("model")
    adapted = trainable["total"] - trainable["trainable"]
    assert adapted.tolist() == sizes["parameters"].tolist()


def test_a_study_is_fetched_by_itself(shipped):
    def checkpoints(target):
        result = shipped.snakemake("-n", target)
        return set(re.findall(r"output: data/checkpoints/(.+)@main", result.stdout + result.stderr))

    annotators = {"florence-community/Florence-2-large-ft", "facebook/sam2.1-hiera-large"}
    for name in ("today", "paper"):
        models = {model["checkpoint"] for model in CONFIG["studies"][name]["models"].values()}
        assert checkpoints(f"fetch_{name}") == models | annotators


def test_all_tables_and_figures_are_planned(project, checkpoints):
    config = copy.deepcopy(CONFIG)
    study = config["studies"]["today"]
    config["studies"], config["default_study"] = {"today": study}, "today"
    for model in study["models"].values():
        model["checkpoint"] = str(checkpoints / "qwen2_vl")
    planned = project(config).planned(*EVERYTHING)
    # top-4, bottom-4, three draws of random-4 and full
    assert planned["finetune"] == len(MODELS) * 6 and planned["tokens"] == len(MODELS)

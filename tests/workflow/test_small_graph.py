"""A whole study of one small random model, and a second call that has nothing to do."""

import copy
import json

import pandas as pd
import pytest
from projects import tiny


@pytest.fixture(scope="module")
def small(project, checkpoints):
    config = tiny(checkpoints, "idefics3")
    config["studies"]["tiny"]["setups"].pop("random-2")
    made = project(config)
    made.run()
    return made


def test_a_study_of_one_model_makes_all_tables_and_figures(small):
    results = small.folder / "results"
    assert all((results / f"table{number}.csv").exists() for number in range(1, 6))
    assert all((results / f"figure{number}.png").exists() for number in (2, 4, 5, 6))
    table = pd.read_csv(results / "table4.csv")
    assert table["metric"].tolist() == ["Accuracy", "AnsProb", "Perplexity", "Log-odds"]
    assert table[["original", "top-2"]].notna().all().all()
    assert table["original"].tolist() != table["top-2"].tolist()


def test_scores_are_held_against_known_reading_heads(small):
    assert not (small.folder / "results/tiny/known_answer.csv").exists()
    no_model = small.snakemake("--cores", "1", "results/tiny/known_answer.csv")
    assert "studies.tiny.models: none has a known_answer; name a JSON file" in no_model.stderr
    answer = small.folder / "own answer.json"
    answer.write_text(json.dumps({"reading_heads": [[1, 0], [4, 3]]}))
    config = copy.deepcopy(small.config)
    config["studies"]["tiny"]["models"]["idefics3"]["known_answer"] = answer.name
    before = small.config
    small.configure(config)
    small.run("results/tiny/known_answer.csv")
    table = pd.read_csv(small.folder / "results/tiny/known_answer.csv")
    assert table["unit"].tolist() == ["head", "layer"] * (len(table) // 2)
    assert table["total"].tolist() == [64, 16] * (len(table) // 2)
    assert (table["reading"] == 2).all() and table["area"].between(0, 1).all()
    assert (table["area_low"] <= table["area_high"]).all()
    # another answer, and nothing else, recomputes the table
    answer.write_text(json.dumps({"reading_heads": [[99, 0]]}))
    refused = small.snakemake("--cores", "1", "results/tiny/known_answer.csv")
    log = (small.folder / "results/tiny/logs/known_answer.log").read_text()
    assert refused.returncode and "own answer.json: no list reading_heads of [layer, head]" in log
    small.configure(before)


def test_a_second_call_has_nothing_to_do_and_no_call_asks_the_network(small):
    assert "Nothing to be done" in small.run()
    assert not small.connections.exists()

"""A whole study of one small random model, and a second call that has nothing to do."""

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


def test_a_second_call_has_nothing_to_do_and_no_call_asks_the_network(small):
    assert "Nothing to be done" in small.run()
    assert not small.connections.exists()

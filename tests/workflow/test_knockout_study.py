"""A study with knockouts: its shards, its layer score, and Figure 8."""

import pandas as pd
import pytest
from projects import tiny

from headimpact import artifacts

FIGURE, SCORE = "results/tiny/figure8.svg", "results/tiny/idefics3/scores/knockout.parquet"


@pytest.fixture(scope="module")
def made(project, checkpoints):
    config = tiny(checkpoints, "idefics3")
    study = config["studies"]["tiny"]
    study["scores"] = {"head_impact": {}, "knockout": {"source": "object_any"}}
    study["knockout"] = {"items": 3, "sources": ["object_any", "image"], "shards": 2}
    made = project(config)
    made.run(FIGURE, SCORE)
    return made


def knockouts(made, shard):
    path = made.folder / f"results/tiny/idefics3/knockouts/{shard}.parquet"
    return artifacts.read(path, "knockouts")


def test_the_score_is_the_drop_that_the_table_has(made):
    table = pd.read_csv(made.folder / "results/tiny/knockout.csv")
    score = artifacts.read(made.folder / SCORE, "scores").set_index("layer")
    rows = table[
        (table["rows"] == "description")
        & (table["source"] == "object_any")
        & (table["measure"] == "log_probability")
    ].set_index("layer")
    assert len(rows) == len(score) > 1 and set(rows["n"]) == set(score["n"]) == {3}
    pd.testing.assert_series_equal(-rows["change"], score["value"], check_names=False)


def test_the_items_are_shared_out_and_a_shard_that_is_missing_is_made_alone(made):
    first, second = (knockouts(made, shard) for shard in (0, 1))
    assert first["object_id"].nunique() == 2 and second["object_id"].nunique() == 1
    assert not set(first["object_id"]) & set(second["object_id"])
    (made.folder / "results/tiny/idefics3/knockouts/1.parquet").unlink()
    (made.folder / FIGURE).unlink()
    assert made.planned(FIGURE) == {"knockouts": 1, "figure8": 1}
    made.run(FIGURE)
    pd.testing.assert_frame_equal(knockouts(made, 1), second)
    assert made.planned(FIGURE) == {}


def test_nothing_of_knockouts_runs_unless_it_is_asked_for(made):
    before = made.config
    study = before["studies"]["tiny"] | {"scores": {"head_impact": {}, "specific_head_impact": {}}}
    try:
        made.configure(before | {"studies": {"tiny": study}})
        assert not {"knockouts", "figure8", "impact_questions"} & set(made.planned())
    finally:
        made.configure(before)
    assert "figure8" not in made.planned("results/tiny/table4.csv")

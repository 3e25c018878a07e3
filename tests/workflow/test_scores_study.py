"""A study of scores side by side: Table 6, what it waits for, and Figure 7."""

import pandas as pd
import pytest
from projects import tiny

TABLE, FIGURE = "results/tiny/table6.csv", "results/tiny/figure7.svg"
SCORES = {
    "head_impact": {},
    "ablation": {},
    "attribution": {},
    "knockout": {},
    "layer_gradient_norm": {},
    "signal_to_noise": {},
}


@pytest.fixture(scope="module")
def made(project, checkpoints):
    config = tiny(checkpoints, "idefics3")
    config["studies"]["tiny"] |= {
        "scores": SCORES,
        "setups": {
            "original": {"layers": "none"},
            "noise-2": {"layers": "top", "count": 2, "by": "signal_to_noise"},
            "random-2": {"layers": "random", "count": 2, "draws": 2},
        },
        "attention": {"shards": 2},
        "interventions": {"single_items": 2, "items": 3, "fresh_items": 2, "shards": 2},
        "knockout": {"items": 2, "sources": ["object", "object_ring"]},
        "faithfulness": {
            "items": 2,
            "head_counts": [2],
            "random_orders": 1,
            "variants": ["renormalise"],
            "in_table6": True,
        },
    }
    made = project(config)
    made.output = made.run(TABLE, FIGURE, "results/tiny/attribution_checks.csv", "--verbose")
    return made


def test_table_6_has_a_row_a_score_an_order_and_a_control(made):
    table = pd.read_csv(made.folder / TABLE).set_index("score")
    units = table["unit"].value_counts().to_dict()
    assert units == {"head": 3, "layer": 3, "order": 2, "control": 1}
    scores = table[table["unit"].isin(["head", "layer"])]
    assert (scores["passes"] >= 0).all() and (scores["seconds"] > 0).all()
    # the score of weights takes no pass, the others come from passes that were counted
    assert scores["passes"].eq(0).sum() == 1
    assert table.loc[table["setup"] == "noise-2", "perplexity"].notna().all()
    assert {"faithfulness_log_probability", "completeness_margin"} <= set(table)


def test_a_score_s_seconds_are_those_of_the_jobs_behind_it(made):
    def seconds(job):
        path = made.folder / f"results/tiny/benchmarks/idefics3.{job}.tsv"
        return pd.read_csv(path, sep="\t")["s"].sum()

    table = pd.read_csv(made.folder / TABLE).set_index("score")["seconds"]
    shards = [f"interventions.single.{shard}" for shard in (0, 1)]
    assert table.iloc[1] == pytest.approx(sum(map(seconds, [*shards, "score.ablation"])))
    shards = ["tokens", "attention.0", "attention.1"]
    assert table.iloc[0] == pytest.approx(sum(map(seconds, [*shards, "score.head_impact"])))


def test_nothing_is_left_to_do_and_lost_times_make_no_model_run_again(made):
    assert made.planned(TABLE, FIGURE) == {}
    for path in (made.folder / "results/tiny/benchmarks").glob("idefics3.*"):
        path.unlink()
    (made.folder / TABLE).unlink()
    assert made.planned(TABLE) == {"table6": 1}
    made.run(TABLE)
    assert pd.read_csv(made.folder / TABLE)["seconds"].isna().all()


def test_jobs_are_selected_when_one_has_finished_and_at_no_other_time(made):
    # with Snakemake's own limit of jobs a second, timers select jobs as well, more and more often
    assert 0 < made.output.count("Ready jobs:") <= made.output.count("Finished jobid:") + 1

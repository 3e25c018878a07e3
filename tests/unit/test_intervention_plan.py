"""The keys of interventions, and what their jobs wait for and are given."""

import pytest

from headimpact.guards import UserError
from headimpact.study.config import parse_config
from headimpact.study.plan import Plan

STUDY = {
    "title": "a study",
    "dataset": {"kind": "scenes", "images": 9},
    "sampling": {"images": 9},
    "models": {"own": {"title": "own", "checkpoint": "someone/something"}},
    "scores": {"head_impact": {}, "ablation": {}, "attribution": {}},
}


def plan(**changes):
    return Plan(parse_config({"default_study": "s", "studies": {"s": STUDY | changes}}), "s")


def test_a_score_waits_for_the_design_that_it_is_computed_from():
    files = plan(interventions={"shards": 2})
    for score, design in (("ablation", "single"), ("attribution", "random")):
        expected = [f"results/s/own/interventions/{design}.{n}.parquet" for n in range(2)]
        assert files.score_inputs("own", score) == {"interventions": expected}
        assert not files.score_runs_model(score)
    assert files.attribution_inputs() == [
        f"results/s/own/interventions/{design}.{n}.parquet"
        for design in ("random", "fresh")
        for n in range(2)
    ]


def test_no_score_that_is_there_by_default_waits_for_interventions():
    study = {name: value for name, value in STUDY.items() if name != "scores"}
    files = Plan(parse_config({"default_study": "s", "studies": {"s": study}}), "s")
    for score in files.study.scores:
        assert "interventions" not in files.score_inputs("own", score)
    with pytest.raises(UserError, match=r"^config.yaml: studies.s.scores: has no attribution"):
        files.attribution_inputs()


def test_fresh_items_begin_behind_those_of_the_regression():
    keys = {"items": 7, "fresh_items": 3, "single_items": 9, "seed": 5}
    items = plan(interventions=keys).intervention_items
    assert items("random") == {"first": 0, "count": 7, "seed": 5}
    assert items("fresh") == {"first": 7, "count": 3, "seed": 5}
    assert items("single") == {"first": 0, "count": 9, "seed": 5}


def test_sets_of_heads_follow_their_own_keys_and_the_offset_of_seeds():
    keys = {"masks": 7, "keep": 0.3, "fresh_masks": 5, "fresh_keep": 0.6, "seed": 5}
    heads = plan(interventions=keys, seed_offset=1000).intervention_heads
    assert heads("random") == {"design": "random", "seed": 1005, "masks": 7, "keep": 0.3}
    assert heads("fresh") == {"design": "fresh", "seed": 1005, "masks": 5, "keep": 0.6}
    assert heads("single") == {"design": "single", "seed": 1005}


def test_questions_are_waited_for_only_if_they_are_asked():
    scores = {"head_impact": {}}
    asked = {"questions": "results/s/impact_questions.parquet"}
    assert plan(scores=scores).intervention_inputs() == asked
    alone = {"outcomes": ["description"]}
    assert plan(scores=scores, interventions=alone).intervention_inputs() == {}


@pytest.mark.parametrize(
    ("key", "changes"),
    [
        ("interventions.outcomes", {"interventions": {"outcomes": []}}),
        ("interventions.outcomes", {"interventions": {"outcomes": ["question", "question"]}}),
        ("interventions.outcomes.0", {"interventions": {"outcomes": ["answer"]}}),
        ("interventions.variant", {"interventions": {"variant": "noise"}}),
        ("interventions.keep", {"interventions": {"keep": 1}}),
        ("interventions.masks", {"interventions": {"masks": 0}}),
        ("interventions.mask", {"interventions": {"mask": 3}}),
        ("scores.attribution.outcome", {"scores": {"attribution": {"outcome": "accuracy"}}}),
        (
            "scores.attribution.outcome",
            {
                "scores": {"attribution": {"outcome": "margin"}},
                "interventions": {"outcomes": ["description"]},
            },
        ),
    ],
)
def test_a_bad_key_is_named_in_one_line(key, changes):
    with pytest.raises(UserError) as error:
        plan(**changes)
    line = str(error.value)
    assert line.startswith(f"config.yaml: studies.s.{key}: ") and "\n" not in line

"""The key `knockout` of a study, what its scores want of it, and what jobs are given."""

import copy

import pytest
from studies import BASE, assert_refused, study

from headimpact.study import documentation
from headimpact.study.config import parse_config
from headimpact.study.plan import Plan

SCORE = {"head_impact": {}, "ko": {"kind": "knockout"}}


def plan(**changes):
    config = copy.deepcopy(BASE)
    config["studies"]["s"].update(changes)
    return Plan(parse_config(config), "s")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("width", 0),
        ("rows", []),
        ("rows", ["last", "last"]),
        ("rows", ["image"]),
        ("sources", ["thing"]),
        ("outcomes", ["accuracy"]),
        ("variant", "zero"),
    ],
)
def test_a_bad_value_is_refused_in_one_line(key, value):
    with pytest.raises(ValueError, match=rf"^config.yaml: studies.s.knockout.{key}") as error:
        study(knockout={key: value})
    assert "\n" not in str(error.value)


def test_a_question_needs_rows_that_can_change_its_answer():
    knockout = {"outcomes": ["question"], "rows": ["description"]}
    assert "prompt and last" in assert_refused("knockout.", "rows", knockout=knockout)
    assert study(knockout=knockout | {"rows": ["description", "last"]}).knockout.items == 30


@pytest.mark.parametrize(
    ("option", "value", "knockout"),
    [
        ("source", "random", {"sources": ["image", "object_ring"]}),
        ("rows", "text", {}),
        ("outcome", "question", {"outcomes": ["description"]}),
    ],
)
def test_a_score_of_a_knockout_that_is_not_measured_is_refused(option, value, knockout):
    scores = {"head_impact": {}, "ko": {"kind": "knockout", "rows": "last", option: value}}
    line = assert_refused("scores.ko.", option, scores=scores, knockout=knockout)
    assert f"{value} is not measured; add it to knockout." in line


def test_a_score_of_a_question_needs_rows_of_the_prompt():
    scores = {"head_impact": {}, "ko": {"kind": "knockout", "outcome": "question"}}
    assert "choose prompt or last" in assert_refused("scores.ko.", "rows", scores=scores)
    scores["ko"]["rows"] = "last"
    assert study(scores=scores).scores["ko"].options["source"] == "object_ring"


def test_figure_8_is_made_unasked_only_with_a_score_of_knockouts():
    assert 8 not in study().figures and 8 not in study(knockout={"width": 5}).figures
    assert study(scores=SCORE).figures[-1] == 8


def test_a_score_waits_for_every_shard_and_for_no_attention():
    made = plan(scores=SCORE, knockout={"shards": 2})
    files = made.score_inputs("own", "ko")
    assert files == {"knockouts": [f"results/s/own/knockouts/{shard}.parquet" for shard in (0, 1)]}
    assert not made.score_runs_model("ko")
    assert made.knockouts_of() == files["knockouts"]


def test_a_job_waits_for_questions_only_if_they_are_asked():
    questions = "results/s/impact_questions.parquet"
    assert plan().knockout_inputs("own")["questions"] == questions
    described = plan(knockout={"outcomes": ["description"]})
    assert described.knockout_inputs("own") == {"tokens": "results/s/own/tokens.parquet"}


def test_shards_and_batch_are_no_part_of_what_decides_results():
    changed = plan(knockout={"shards": 3, "batch": 5})
    assert changed.knockout_settings() == plan().knockout_settings()
    assert plan(knockout={"width": 5}).knockout_settings() != plan().knockout_settings()


def test_the_schema_admits_the_outcomes_of_all_scores():
    (scores,) = documentation.schema()["$defs"]["Study"]["properties"]["scores"][
        "patternProperties"
    ].values()
    assert {"description", "question", "kl"} <= set(scores["properties"]["outcome"]["enum"])

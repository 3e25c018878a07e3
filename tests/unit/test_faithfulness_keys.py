"""The key `faithfulness`: what it refuses, and which files and orders follow from it."""

import pytest

from headimpact.guards import UserError
from headimpact.study.config import parse_config
from headimpact.study.plan import Plan

SCORES = {"head_impact": {}, "wider": {"kind": "head_impact", "rings": 1}}


def plan(seed_offset=0, **keys):
    models = {name: {"title": name, "checkpoint": f"some/{name}"} for name in ("one", "two")}
    entry = {"title": "t", "dataset": {"kind": "scenes", "images": 9}, "sampling": {"images": 9}}
    entry |= {"models": models, "scores": SCORES, "faithfulness": keys}
    entry |= {"seed_offset": seed_offset}
    return Plan(parse_config({"default_study": "s", "studies": {"s": entry}}), "s")


def assert_refused(key, **keys):
    with pytest.raises(UserError) as error:
        plan(**keys)
    line = str(error.value)
    assert line.startswith(f"config.yaml: studies.s.faithfulness.{key}: ") and "\n" not in line


@pytest.mark.parametrize("count", [0, -1, 1.0, 1.5, 0.0])
def test_a_count_is_a_number_of_heads_or_a_share_of_them(count):
    assert_refused("head_counts", head_counts=[1, count])


@pytest.mark.parametrize("count", [True, "2", None])
def test_a_count_that_is_no_number_is_named_by_its_place(count):
    assert_refused("head_counts.1", head_counts=[1, count])


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("head_counts", []),
        ("variants", []),
        ("variants", ["mean", "mean"]),
        ("variants.0", ["softmax"]),
        ("outcomes.0", ["answer"]),
        ("random_orders", 0),
        ("items", 0),
    ],
)
def test_a_bad_value_is_named(key, value):
    assert_refused(key, **{key.partition(".")[0]: value})


def test_the_defaults_show_the_first_eight_heads():
    counts = plan().order_settings()["head_counts"]
    assert [count for count in counts if isinstance(count, int)] == [1, 2, 4, 8]


def test_files_of_models_come_model_by_model():
    shards = plan(shards=2).curves_of_models()
    assert shards == [f"results/s/{m}/curves/{n}.parquet" for m in ("one", "two") for n in (0, 1)]
    scores = plan().head_scores_by_model()
    assert scores == [f"results/s/{m}/scores/{n}.parquet" for m in ("one", "two") for n in SCORES]


def test_the_seed_of_the_orders_moves_with_the_study():
    assert plan(seed=3).order_settings()["seed"] == 3
    assert plan(seed_offset=40, seed=3).order_settings()["seed"] == 43


def test_orders_are_those_of_all_scores_of_heads_with_their_direction():
    settings = plan().order_settings()
    assert settings["titles"] == ["Head Impact", "wider"]
    assert settings["higher_is_better"] == [True, True]


@pytest.mark.parametrize("seed_offset", [0, 1000])
def test_table_6_waits_for_areas_only_if_it_is_asked_to(seed_offset):
    assert "areas" not in plan(seed_offset).table6_files()
    files = plan(seed_offset, in_table6=True).table6_files()
    assert files["areas"] == "results/s/faithfulness_areas.csv"

"""How a study resolves its keys: setups, runs, scores and defaults."""

import copy
import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml
from studies import BASE, assert_refused, study

from headimpact import registry
from headimpact.study import documentation
from headimpact.study.config import parse_config
from headimpact.study.plan import Plan
from headimpact.study.run import Run

ROOT = Path(__file__).parents[2]
CONFIGURATION = (ROOT / "config.yaml").read_text(encoding="utf-8")
SHIPPED = parse_config(yaml.safe_load(CONFIGURATION))


@pytest.mark.parametrize("name", SHIPPED.studies)
def test_the_shipped_studies_are_valid(name, monkeypatch):
    monkeypatch.chdir(ROOT)
    assert SHIPPED.study(name).runs()


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("controls", CONFIGURATION.partition("\n  controls:")[0]),
        ("forgetting", CONFIGURATION.partition("\n  forgetting:")[0]),
        ("paper_controls", CONFIGURATION.partition("\n  paper_controls:")[0]),
        ("paper_controls", (ROOT / "docs/paper.md").read_text(encoding="utf-8")),
        ("today", CONFIGURATION.partition("\n  today:")[0]),
        ("today", (ROOT / "docs/models.md").read_text(encoding="utf-8")),
    ],
    ids=["controls", "forgetting", "paper_controls", "docs/paper.md", "today", "docs/models.md"],
)
def test_the_number_of_runs_is_the_one_that_is_written(name, text):
    entry = SHIPPED.studies[name]
    assert re.findall(r"(\d+) +(?:# )?runs", text)[-1] == str(len(entry.models) * len(entry.runs()))


def test_the_default_study_has_the_papers_five_setups():
    for name in (SHIPPED.default_study, "paper"):
        entry = SHIPPED.studies[name]
        assert list(entry.setups) == ["original", "top-4", "bottom-4", "random-4", "full"]
        assert entry.setups["random-4"].options == {"count": 4, "rule": "paper"}


def test_a_setup_runs_for_each_variant_and_draw_and_the_original_once():
    runs = study(variants={"fast": {"learning_rate": 0.1}}).runs()
    assert runs[0] == Run("original", "default", 0)
    assert [run.path for run in runs if run.setup == "random-2"] == [
        *(f"random-2/default/{draw}" for draw in range(3)),
        *(f"random-2/fast/{draw}" for draw in range(3)),
    ]
    assert len(runs) == 1 + 2 * (1 + 3 + 1)


def test_figure_6_is_of_studies_that_compare_perplexity_and_another_metric_with_original():
    setups, metrics = BASE["studies"]["s"]["setups"], {"loss": {"kind": "perplexity"}}
    assert study().figures == [2, 4, 5, 6]
    for changed in (
        {"metrics": metrics},
        {"metrics": {"accuracy": {}, "log_odds": {}}},
        {"setups": {"original": setups["original"]}},
        {"setups": {"full": setups["full"]}},
    ):
        assert study(**changed).figures == [2, 4, 5]
    config = copy.deepcopy(BASE)
    config["studies"]["s"] |= {"metrics": {"accuracy": {}, **metrics}}
    assert Plan(parse_config(config), "s").learned_metric() == "loss"


def test_a_run_is_shown_with_the_learning_rate_and_seed_that_it_trains_with():
    config = copy.deepcopy(BASE)
    config["studies"]["s"] |= {
        "training": {"learning_rate": 0.5, "seed": 3},
        "variants": {"fast": {"learning_rate": 0.75}},
    }
    plan = Plan(parse_config(config), "s")
    trainings = dict(zip(plan.runs(), plan.trainings(), strict=True))
    assert trainings["random-2", "fast", 2] == {"learning_rate": 0.75, "seed": 5}
    assert trainings["full", "default", 0] == {"learning_rate": 0.5, "seed": 3}


def test_other_setups_are_compared_with_those_of_top_layers_or_else_the_first_that_trains():
    setups = BASE["studies"]["s"]["setups"]
    assert study().compared_setups == ["top-2"] and study().counted_setup == "top-2"
    more = setups | {"top-1": {"layers": "top", "count": 1}}
    assert study(setups=more).compared_setups == ["top-2", "top-1"]
    trained = {name: setups[name] for name in ("original", "full", "random-2")}
    assert study(setups=trained).compared_setups == ["full"]
    untrained = study(setups={"original": setups["original"]})
    assert untrained.compared_setups == [] and untrained.counted_setup == "original"


def test_table_5_counts_as_many_layers_as_the_counted_setup_trains():
    published = {"own": {**BASE["studies"]["s"]["models"]["own"], "published": "SmolVLM"}}
    for setup, count in (
        ({"layers": "top", "count": 3}, 3),
        ({"layers": [5, 2]}, 2),
        ({"layers": "published"}, 4),
        ({"layers": "all"}, None),
    ):
        entry = study(models=published, setups={"original": {"layers": "none"}, "top-4": setup})
        assert entry.counted_layers == count


def test_only_draws_that_could_be_the_top_layers_are_a_null_for_their_rank():
    config, anywhere = copy.deepcopy(BASE), {"layers": "random", "count": 2}
    config["studies"]["s"]["setups"] |= {
        "listed": {"layers": [0, 1]},
        "paper-2": anywhere | {"rule": "paper"},
        "anywhere-2": anywhere,
        "anywhere-1": {"layers": "random", "count": 1},
        "anywhere-fast": anywhere | {"training": {"learning_rate": 0.1}},
        "near-top": {"layers": "matched", "to": "top-2"},
        "near-listed": {"layers": "matched", "to": "listed"},
    }
    ranked = Plan(parse_config(config), "s").ranked_setups()
    assert {(top, drawn): is_null for top, drawn, is_null in ranked} == {
        ("top-2", "random-2"): True,
        ("top-2", "paper-2"): False,  # the paper's rule leaves out the top layers
        ("top-2", "anywhere-2"): True,
        ("top-2", "anywhere-1"): False,
        ("top-2", "anywhere-fast"): False,
        ("top-2", "near-top"): True,
        ("top-2", "near-listed"): False,
    }


def test_a_variant_overrides_its_setup_which_overrides_the_study():
    setups = BASE["studies"]["s"]["setups"]
    changed = setups | {"top-2": {**setups["top-2"], "training": {"epochs": 7, "seed": 5}}}
    values = study(
        training={"epochs": 2, "batch_size": 3},
        setups=changed,
        variants={"long": {"epochs": 9}},
    )
    assert values.training_of("full", "default")["epochs"] == 2
    assert values.training_of("top-2", "default")["epochs"] == 7
    training = values.training_of("top-2", "long")
    assert (training["epochs"], training["batch_size"], training["seed"]) == (9, 3, 5)


def test_only_setups_that_rank_layers_need_a_score():
    entry = study(scores={"a": {"kind": "head_impact"}, "b": {"kind": "head_impact"}})
    assert [entry.score_of(setup) for setup in entry.setups] == [None, "a", None, None]
    setups = {**BASE["studies"]["s"]["setups"], "top-2": {"layers": "top", "count": 2, "by": "b"}}
    entry = study(
        scores={"a": {"kind": "head_impact"}, "b": {"kind": "head_impact"}}, setups=setups
    )
    assert entry.score_of("top-2") == "b"


def test_random_layers_wait_for_a_score_only_by_the_papers_rule():
    setups = {
        "a": {"layers": "random", "count": 2},
        "b": {"layers": "random", "count": 2, "rule": "paper"},
        "c": {"layers": "matched", "to": "d"},
        "d": {"layers": "top", "count": 2},
    }
    entry = study(setups=setups)
    assert [entry.score_of(name) for name in setups] == [None, "head_impact", None, "head_impact"]
    needs = [setup.entry.needs for setup in entry.setups.values()]
    assert needs == [("seed",), ("score", "seed"), ("seed", "layers"), ("score",)]
    assert [setup.entry.layers_per_count for setup in entry.setups.values()] == [1, 3, 1, 1]


def test_the_top_setup_is_the_first_that_takes_top_layers_or_the_papers():
    top, published = {"layers": "top", "count": 2}, {"layers": "published"}
    models = {"own": {**BASE["studies"]["s"]["models"]["own"], "published": "SmolVLM"}}
    scores = {"a": {"kind": "head_impact"}, "head_impact": {}}
    changes = {"models": models, "scores": scores}
    entry = study(
        **changes, setups={"top-4": published, "x": {**top, "by": "head_impact"}, "y": top}
    )
    assert entry.top_setups == {"x": "head_impact", "y": "a"}
    assert (entry.top_setup, entry.score_title("head_impact")) == ("x", "Head Impact")
    entry = study(**changes, setups={"y": top})
    assert (entry.top_score, entry.score_title("a")) == ("a", "a")
    entry = study(**changes, setups={"full": {"layers": "all"}, "top-4": published})
    assert (entry.top_setup, entry.top_score) == ("top-4", None)
    entry = study(**changes, setups={"top-4": {"layers": [1]}})
    assert (entry.top_setup, entry.top_score) == (None, None)


def test_draws_of_fixed_layers_differ_in_the_seed_of_the_training():
    config = copy.deepcopy(BASE)
    config["studies"]["s"]["setups"]["top-2"]["draws"] = 3
    config["studies"]["s"]["training"] = {"seed": 5}
    plan = Plan(parse_config(config), "s")
    trainings = [plan.training("top-2", "default", str(draw)) for draw in range(3)]
    assert [training.pop("seed") for training in trainings] == [5, 6, 7]
    assert trainings[0] == trainings[1] == trainings[2]


@pytest.mark.parametrize(
    "target",
    ["a", "nowhere", "original", "full", "random-2", "empty"],
)
def test_a_matched_setup_wants_a_setup_with_some_fixed_layers(target):
    setups = {**BASE["studies"]["s"]["setups"], "empty": {"layers": []}, "chosen": {"layers": [3]}}
    changed = {"a": {"layers": "matched", "to": target}, **setups}
    line = assert_refused("setups.a.", "to", setups=changed)
    assert line.endswith("name one of top-2, chosen")
    for target in ("top-2", "chosen"):
        setups["a"] = {"layers": "matched", "to": target}
        plan = Plan(
            parse_config({**BASE, "studies": {"s": {**BASE["studies"]["s"], "setups": setups}}}),
            "s",
        )
        assert plan.target_layers("own", "a") == f"results/s/own/{target}/0/layers.json"
        assert plan.target_layers("own", "top-2") == []


def test_a_score_of_the_weights_gets_the_model_on_the_cpu_and_no_images():
    config = copy.deepcopy(BASE)
    scores = {"head_impact": {}, "signal_to_noise": {}, "cka": {}}
    config["studies"]["s"] |= {"scores": scores, "device": "cuda"}
    plan = Plan(parse_config(config), "s")
    record = plan.fetched_model("own")
    assert record and plan.score_inputs("own", "signal_to_noise") == {"checkpoint": record}
    assert plan.score_checkpoint("own", "signal_to_noise")["device"] == "cpu"
    assert not plan.score_runs_model("signal_to_noise")
    assert plan.score_inputs("own", "cka") == {**plan.image_files(), "checkpoint": record}
    assert plan.score_checkpoint("own", "cka")["device"] == "cuda" and plan.score_runs_model("cka")
    assert plan.score_checkpoint("own", "head_impact") is None


def test_missing_options_get_their_defaults():
    entry = study(scores={"strict": {"kind": "head_impact", "mask_share": 0.9}})
    options = {"mask_share": 0.9, "rings": 0, "average_over": "objects"}
    assert entry.scores["strict"].options == options
    assert entry.mask_share == 0.9
    assert study().method_of("full").options["rank"] == 8
    assert study().annotator.options == {"description": "{article} {category}"}


def test_schema_and_documentation_are_up_to_date():
    schema = json.loads((ROOT / "docs/config.schema.json").read_text())
    assert schema == documentation.schema()
    assert (ROOT / "docs/configuration.md").read_text() == documentation.page()
    config = yaml.safe_load((ROOT / "config.yaml").read_bytes())
    jsonschema.validate(config, schema)
    config["studies"]["miniature"]["scores"] = {"s": {"kind": "head_impact", "mask_share": 0.1}}
    config["studies"]["miniature"]["setups"] = {"a": {"layers": "top", "count": 2}}
    jsonschema.validate(config, schema)
    for key, value in (
        ("scores", {"s": {"mask_shares": 1}}),
        ("methods", {"lora": {"rank": "eight"}}),
        ("setups", {"a": {"layers": "top", "counts": 2}}),
        ("annotator", {"nam": "release"}),
    ):
        changed = copy.deepcopy(config)
        changed["studies"]["miniature"][key] = value
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(changed, schema)


@pytest.mark.parametrize(
    "table", ["FAMILIES", "ANNOTATORS", "SCORES", "LAYER_CHOICES", "METHODS", "METRICS"]
)
def test_every_entry_of_the_registry_can_be_loaded(table):
    for entry in getattr(registry, table).values():
        assert entry.load() is not None

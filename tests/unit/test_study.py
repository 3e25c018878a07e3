"""config.yaml: which keys and values are valid, and how a study resolves them."""

import copy
import json
import re
from pathlib import Path

import jsonschema
import pytest
import yaml

from headimpact import registry
from headimpact.guards import UserError
from headimpact.report.provenance import gather
from headimpact.study import documentation
from headimpact.study.base import Keys, Seed, move_seeds
from headimpact.study.config import check_yaml, parse_config
from headimpact.study.files import check_files
from headimpact.study.plan import Plan
from headimpact.study.run import Run

ROOT = Path(__file__).parents[2]
BASE = {
    "default_study": "s",
    "studies": {
        "s": {
            "title": "a study",
            "dataset": {"kind": "scenes", "images": 9},
            "sampling": {"images": 9},
            "models": {"own": {"title": "own", "checkpoint": "someone/something"}},
            "setups": {
                "original": {"layers": "none"},
                "top-2": {"layers": "top", "count": 2},
                "random-2": {"layers": "random", "count": 2, "draws": 3},
                "full": {"layers": "all"},
            },
        }
    },
}


def study(**changes):
    """The study of BASE with other values for some of its keys."""
    config = copy.deepcopy(BASE)
    config["studies"]["s"].update(changes)
    return parse_config(config).studies["s"]


def assert_refused(section, key, **changes):
    """Assert that the changed study is refused in one line that begins with `section` and `key`."""
    with pytest.raises(UserError) as error:
        study(**changes)
    line = str(error.value)
    assert line.startswith(f"config.yaml: studies.s.{section}{key}: ") and "\n" not in line
    return line


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


SEEDED = {
    "dataset": {"kind": "scenes", "images": 9, "seed": 2511},
    "nulls": {"untrained": True},
    "setups": {
        **BASE["studies"]["s"]["setups"],
        "matched-2": {"layers": "matched", "to": "top-2"},
        "full": {"layers": "all", "training": {"seed": 70}},
    },
    "variants": {"late": {"seed": 700}, "long": {"epochs": 9}},
}


def seeds(entry):
    """{dotted key: value} of the seeds of a study, as provenance.json has them."""
    return gather("no results", entry.model_dump(mode="json"), {})["seeds"]


def test_an_offset_moves_every_seed_of_a_study_and_nothing_else():
    plain, moved = study(**SEEDED), study(**SEEDED, seed_offset=1000)
    before = {key: seed for key, seed in seeds(plain).items() if seed is not None}
    after = {key: seed for key, seed in seeds(moved).items() if seed is not None}
    assert before == {
        **dict.fromkeys(("sampling.seed", "nulls.seed", "layer_seed", "questions.seed"), 0),
        **{"training.seed": 0, "dataset.seed": 2511},
        **dict.fromkeys(("interventions.seed", "knockout.seed", "faithfulness.seed"), 0),
        **{"setups.full.training.seed": 70, "variants.late.seed": 700},
    }
    assert after == {key: seed + 1000 for key, seed in before.items()}
    assert move_seeds(moved, -1000) == plain


def params_with_seeds(plan):
    """What the jobs of a study are given of its seeds, in the form of their params."""
    entry = plan.study
    return [
        *(entry.dataset.seed, entry.sampling.seed, entry.questions.seed, entry.nulls.seed),
        plan.untrained_checkpoint("own")["untrained"],
        plan.knockout_draw()["seed"],
        *(plan.intervention_items("random")["seed"], plan.intervention_heads("random")["seed"]),
        *(plan.layer_choice("own", setup)["seed"] for setup in ("random-2", "matched-2")),
        *(plan.training(*run)["seed"] for run in plan.runs()),
    ]


def test_every_seed_that_a_job_is_given_follows_the_offset():
    config, params = copy.deepcopy(BASE), {}
    for offset in (0, 1000, 2000):
        config["studies"]["s"] |= {**SEEDED, "seed_offset": offset}
        params[offset] = params_with_seeds(Plan(parse_config(config), "s"))
    for offset in (1000, 2000):
        assert params[offset] == [seed + offset for seed in params[0]]
    trainings = [set(given[10:]) for given in params.values()]
    assert not trainings[0] & trainings[1] and not trainings[1] & trainings[2]


def test_an_offset_of_0_changes_nothing():
    assert study(**SEEDED, seed_offset=0) == study(**SEEDED)
    assert study(**SEEDED, seed_offset=0).model_dump() == study(**SEEDED).model_dump()


def test_the_recorded_configuration_of_a_moved_study_gives_the_same_study():
    moved = study(**SEEDED, seed_offset=1000)
    record = json.loads(moved.model_dump_json())
    assert parse_config({"default_study": "s", "studies": {"s": record}}).studies["s"] == moved


def test_a_seed_that_is_added_later_is_moved_too():
    class Inner(Keys):
        start: Seed | None = None
        count: int = 5

    class Outer(Keys):
        inner: Inner = Inner()
        named: dict[str, Inner]

    keys = Outer(inner=Inner(start=4), named={"a": Inner(start=1), "b": Inner()})
    moved = Outer(inner=Inner(start=14), named={"a": Inner(start=11), "b": Inner()})
    assert move_seeds(keys, 10) == moved


def test_no_option_of_the_registry_is_a_seed_which_an_offset_would_not_move():
    tables = (registry.SCORES, registry.METHODS, registry.METRICS, registry.ANNOTATORS)
    entries = [entry for table in (*tables, registry.LAYER_CHOICES) for entry in table.values()]
    assert not [name for entry in entries for name in entry.options if name.endswith("seed")]


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


@pytest.mark.parametrize(
    ("section", "key", "changes"),
    [
        ("", "lorra", {"lorra": 1}),
        ("methods.lora.", "rnk", {"methods": {"lora": {"rnk": 4}}}),
        ("methods.lora.", "rank", {"methods": {"lora": {"rank": "eight"}}}),
        ("methods.lora.", "rank", {"methods": {"lora": {"rank": True}}}),
        ("methods.lora.", "dropout", {"methods": {"lora": {"dropout": float("nan")}}}),
        ("scores.strict.", "kind", {"scores": {"strict": {}}}),
        ("scores.hi.", "mask_share", {"scores": {"hi": {"kind": "head_impact", "mask_share": 2}}}),
        ("scores.cka.", "images", {"scores": {"head_impact": {}, "cka": {"images": 2}}}),
        ("", "scores", {"scores": {}}),
        ("", "models", {"models": {}}),
        ("setups.a.", "layers", {"setups": {"a": {"layers": "best"}}}),
        ("setups.a.", "count", {"setups": {"a": {"layers": "top"}}}),
        ("setups.a.", "cuont", {"setups": {"a": {"layers": "top", "count": 1, "cuont": 2}}}),
        ("setups.a.", "by", {"setups": {"a": {"layers": "top", "count": 1, "by": "x"}}}),
        ("setups.a.", "rule", {"setups": {"a": {"layers": "random", "count": 1, "rule": "x"}}}),
        ("setups.a.", "to", {"setups": {"a": {"layers": "matched"}}}),
        ("setups.a.", "count", {"setups": {"a": {"layers": "matched", "count": 1, "to": "b"}}}),
        ("setups.a.", "method", {"setups": {"a": {"layers": "all", "method": "x"}}}),
        ("setups.", "a", {"setups": {"a": {"layers": "none"}}}),
        ("setups.", "original", {"setups": {"original": {"layers": "all"}}}),
        ("setups.", "b", {"setups": {"b": {"layers": "published"}}}),
        ("models.own.", "published", {"setups": {"top-4": {"layers": "published"}}}),
        ("variants.v.", "rate", {"variants": {"v": {"rate": 1}}}),
        ("variants.", "default", {"variants": {"default": {"epochs": 1}}}),
        ("training.", "learning_rate", {"training": {"learning_rate": "1e-4"}}),
        ("training.", "learning_rate", {"training": {"learning_rate": float("inf")}}),
        ("training.", "epochs", {"training": {"epochs": 0}}),
        ("sampling.", "images", {"sampling": {"images": 10}}),
        ("sampling.", "images", {"sampling": {"images": 9.5}}),
        ("", "device", {"device": "gpu"}),
        ("", "seed_offset", {"seed_offset": -1}),
        ("", "seed_offset", {"seed_offset": 2**31}),
        ("", "dataset", {"dataset": {"kind": "photos"}}),
        ("dataset.", "images", {"dataset": {"kind": "scenes"}}),
        ("dataset.", "root", {"dataset": {"kind": "coco", "subset": "train2017"}}),
        ("dataset.", "root", {"dataset": {"kind": "coco", "root": "~/coco"}}),
        ("models.own.", "checkpoint", {"models": {"own": {"title": "a", "checkpoint": "~/b"}}}),
        ("dataset.", "subset", {"dataset": {"kind": "coco", "root": "a", "subset": "b/"}}),
        (
            "dataset.look.",
            "textures",
            {"dataset": {"kind": "scenes", "images": 9, "look": {"textures": 1}}},
        ),
        ("annotator.", "name", {"annotator": {"name": "sam3"}}),
        ("annotator.", "impact", {"annotator": {"impact": "sam3"}}),
        ("annotator.", "release", {"annotator": {"name": "instances", "release": "x"}}),
        ("annotator.", "grounder", {"annotator": {"name": "florence2_sam2", "grounder": {}}}),
        ("annotator.", "name", {"dataset": {"kind": "captions", "root": "a", "captions": "b"}}),
        ("models.own.", "title", {"models": {"own": {"checkpoint": "a/b"}}}),
        ("models.", "a b", {"models": {"a b": {"title": "a", "checkpoint": "a/b"}}}),
        (
            "models.two.",
            "title",
            {"models": {n: {"title": "same", "checkpoint": "a/b"} for n in ("one", "two")}},
        ),
    ],
)
def test_a_bad_key_is_named_in_one_line(section, key, changes):
    assert_refused(section, key, **changes)


def test_an_error_lists_the_known_keys_or_a_valid_value():
    assert "rank, alpha, dropout, targets" in assert_refused(
        "methods.lora.", "x", methods={"lora": {"x": 1}}
    )
    assert "1e-4" in assert_refused(
        "training.", "learning_rate", training={"learning_rate": "1e-4"}
    )


def test_a_missing_default_study_is_named():
    with pytest.raises(UserError, match=r"^config\.yaml: default_study: "):
        parse_config({**BASE, "default_study": "t"})


CONFIG = {"model_type": "qwen2_vl", "text_config": {"num_hidden_layers": 3}}


def checkpoint(folder, config=CONFIG):
    """A folder with all the files of a checkpoint, empty except its configuration."""
    folder.mkdir(exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    for name in ("model.safetensors", "preprocessor_config.json", "tokenizer.json"):
        (folder / name).write_text("{}")
    (folder / "chat_template.jinja").write_text("text")
    return str(folder)


@pytest.mark.parametrize("flat", [False, True])
@pytest.mark.parametrize(
    ("setup", "key"),
    [
        ({"layers": "top", "count": 4}, "count"),
        ({"layers": "random", "count": 2, "rule": "paper"}, "count"),
        ({"layers": "random", "count": 4}, "count"),
        ({"layers": "uniform", "count": 4}, "count"),
        ({"layers": [0, 3]}, "layers"),
    ],
)
def test_a_setup_with_more_layers_than_the_decoder_is_refused(tmp_path, flat, setup, key):
    config = {"model_type": "qwen2_vl", "num_hidden_layers": 3} if flat else CONFIG
    models = {"own": {"title": "own", "checkpoint": checkpoint(tmp_path / "own", config)}}
    check_files(study(models=models, setups={"a": {"layers": "top", "count": 3}}), "here")
    with pytest.raises(
        UserError, match=rf"^here\.setups\.a\.{key}: needs a decoder of [46] layers"
    ):
        check_files(study(models=models, setups={"a": setup}), "here")


def test_missing_folders_are_named(tmp_path, monkeypatch):
    for path, start in (("./nowhere", "no folder"), ("nowhere", "nowhere is neither")):
        models = {"own": {"title": "own", "checkpoint": path}}
        with pytest.raises(UserError, match=rf"^here\.models\.own\.checkpoint: {start}"):
            check_files(study(models=models), "here")
    (tmp_path / "a").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UserError, match=r"^here\.models\.own\.checkpoint: no folder a/checkpoint"):
        models = {"own": {"title": "own", "checkpoint": "a/checkpoint"}}
        check_files(study(models=models), "here")
    with pytest.raises(UserError, match="File name too long"):
        models = {"own": {"title": "own", "checkpoint": "./" + "x" * 300}}
        check_files(study(models=models), "here")
    captions = {"kind": "captions", "root": str(tmp_path), "captions": "nowhere.csv"}
    annotator = {"name": "florence2_sam2"}
    with pytest.raises(UserError, match=r"^here\.dataset\.captions: no nowhere\.csv"):
        check_files(study(dataset=captions, annotator=annotator), "here")


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


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"a: !!python/object/apply:os.system [x]", "line 1: could not determine a constructor"),
        (b"a: 1\nb: !!python/name:os.system", "line 2: could not determine a constructor"),
        (b"a: 1\n\tb: 2", "line 2: found character"),
        (b"a: b: c", "line 1: mapping values are not allowed here; correct it, and quote"),
        (b"a: 1\nb: {c: 1, d: 2, c: 3}", "line 2: the key c stands twice; correct it"),
        (b"a: 1\nb: 2\na: 3", "line 3: the key a stands twice; correct it"),
        (b"a: *b", "line 1: found undefined alias 'b'"),
        (b"{[1]: 2}: 3", "line 1: found unhashable key"),
        ("a: schön".encode("latin-1"), "not YAML in UTF-8"),
        (b"a: \0", "not YAML in UTF-8"),
        (b"a: 2020-02-30", "not YAML in UTF-8 (day is out of range for month); correct it"),
        (b"a: !!bool maybe", "not YAML in UTF-8"),
        (b"a: " + b"[" * 5000, "not YAML in UTF-8 (maximum recursion depth"),
        *((content, "holds no keys") for content in (b"", b"- 1", b"text")),
        (b"__use_yte__: true\n?exit(): 1", "__use_yte__: would run code; write what it makes"),
        # a small file with 10 ** 9 values, and a mapping that contains itself
        (
            b"a0: &a0 [x, x]\n"
            + b"".join(
                b"a%d: &a%d [%s]\n" % (i, i, b", ".join([b"*a%d" % (i - 1)] * 10))
                for i in range(1, 10)
            ),
            "more than 100000 values; repeat less by *",
        ),
        (b"a: &a {b: *a}", "more than 100000 values; repeat less by *"),
    ],
    ids=lambda value: str(value)[:30],
)
def test_content_other_than_plain_yaml_is_refused_in_one_line(content, reason):
    with pytest.raises(ValueError, match=r"^config\.yaml: ") as error:
        check_yaml(content)
    assert reason in str(error.value)


def test_aliases_are_plain_yaml():
    check_yaml("a: &a {b: schön}\nc: {<<: *a}\nd: *a\n".encode())

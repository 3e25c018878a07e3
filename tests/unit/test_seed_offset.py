"""`seed_offset`: it moves every seed of a study, and nothing else."""

import copy
import json

from studies import BASE, study

from headimpact import registry
from headimpact.report.provenance import gather
from headimpact.study.base import Keys, Seed, move_seeds
from headimpact.study.config import parse_config
from headimpact.study.plan import Plan

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

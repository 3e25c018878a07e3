"""Only what is stale runs again: edits of a finished study, and exactly the jobs planned after."""

import copy
import shutil
import subprocess
from contextlib import contextmanager

import pytest
from projects import ALL, tiny

MODELS, RUNS, TRAINED = len(ALL), 4, 3  # a model's runs: original, top-2, two draws of random-2

# jobs by rule, and what follows from them, for the default study
TABLE4 = {"table4": 1, "default_table": 2}
EVALUATED = {"evaluate": MODELS, **TABLE4}
TUNED = {"finetune": MODELS * TRAINED, **EVALUATED}
COUNTED = {"parameters": 1, "default_table": 2}
DRAWN = {"figure": 2, "default_figure": 4}  # figures 4 and 5, as SVG and PNG
FIGURE2 = {"figure2": 1, "default_figure": 2}


def jobs(*parts, **more):
    """The jobs of all parts together; copies of tables and figures add up."""
    together = {}
    for part in (*parts, more):
        for rule, count in part.items():
            copies = rule.startswith("default_")
            together[rule] = together.get(rule, 0) + count if copies else count
    return together


SCORED = jobs(TUNED, DRAWN, impact=MODELS, table2=1, table3=1, default_table=2)
ATTENDED = jobs(SCORED, attention=MODELS)
SAMPLED = jobs(ATTENDED, FIGURE2, samples=1, tokens=MODELS, features=MODELS)


@contextmanager
def changed(project, *keys, value):
    """A configuration with another value there; of the study tiny, unless `studies` is first."""
    before = copy.deepcopy(project.config)
    told = copy.deepcopy(before)
    place = told if keys[0] == "studies" else told["studies"]["tiny"]
    for key in keys[:-1]:
        place = place.setdefault(key, {})
    if value is None:
        del place[keys[-1]]
    else:
        place[keys[-1]] = value
    try:
        project.configure(told)
        yield
    finally:
        project.configure(before)


@contextmanager
def edited(project, file, *change):
    """A file with its text changed: (old, new), or a function of the text."""
    path = project.folder / file
    before = path.read_text()
    if len(change) == 2:
        assert before.count(change[0]) == 1, f"{file} has {change[0]} once"
    try:
        path.write_text(before.replace(*change) if len(change) == 2 else change[0](before))
        yield
    finally:
        path.write_text(before)


def planned(project, *targets):
    found = project.planned(*targets)
    return {rule: count for rule, count in found.items() if rule != "all"}


def test_nothing_is_stale_in_a_finished_study(finished):
    assert planned(finished) == {}
    assert planned(finished, "results/other/table2.csv") == {}


@pytest.mark.parametrize(
    ("keys", "value", "wanted"),
    [
        (("title",), "another title", {}),
        (("lora", "rank"), 4, jobs(TUNED, COUNTED)),
        (("lora", "dropout"), 0.1, jobs(TUNED, COUNTED)),
        (("training", "learning_rate"), 0.01, TUNED),
        (("training", "seed"), 1, TUNED),
        # of one setup alone
        (
            ("setups", "top-2", "training"),
            {"learning_rate": 0.01},
            jobs(EVALUATED, finetune=MODELS),
        ),
        # who draws layers, and no one else
        (
            ("layer_seed",),
            1,
            jobs(EVALUATED, finetune=MODELS * 2, table3=1, default_table=1),
        ),
        # a new setup, and one less
        (
            ("setups", "full"),
            {"layers": "all"},
            jobs(EVALUATED, finetune=MODELS, table3=1, default_table=1),
        ),
        (("setups", "random-2"), None, jobs(EVALUATED, table3=1, default_table=1)),
        (
            ("setups", "random-2", "draws"),
            3,
            jobs(EVALUATED, finetune=MODELS, table3=1, default_table=1),
        ),
        # mask rules: of tokens, and of objects
        (("impact", "mask_share"), 0.25, jobs(SCORED, FIGURE2)),
        (("impact", "average_over"), "images", SCORED),
        (("annotator", "min_confidence"), 0.9, SAMPLED),
        (("annotator", "description"), "the {category}", jobs(SAMPLED, annotate_instances=1)),
        (("sampling", "seed"), 1, jobs(SAMPLED, images=1, annotate_instances=1)),
        (("sampling", "images"), 26, jobs(SAMPLED, images=1, annotate_instances=1)),
        (("sampling", "order"), "area", SAMPLED),
        (
            ("dataset", "seed"),
            6,
            jobs(SAMPLED, scenes=1, images=1, annotate_instances=1),
        ),
        (("evaluation", "seed"), 3, EVALUATED),
        (("evaluation", "answer_probability"), "vocabulary", TABLE4),
        # how many at once: the same numbers
        (("impact", "batch"), 1, {}),
        (("annotator", "batch"), 1, {}),
        (("impact", "shards"), 2, jobs(SCORED, attention=2 * MODELS)),
        (("shortcuts", "one_pass"), False, jobs(ATTENDED)),
        (("shortcuts", "few_logits"), False, TUNED),
    ],
)
def test_a_changed_key_reruns_exactly_what_depends_on_it(finished, keys, value, wanted):
    with changed(finished, *keys, value=value):
        assert planned(finished) == wanted


def test_a_model_s_title_makes_tables_and_figures_anew(finished):
    tables = {"parameters": 1, "table2": 1, "table3": 1, "table4": 1, "default_table": 6}
    with changed(finished, "models", "qwen2_vl", "title", value="another"):
        assert planned(finished) == jobs(tables, DRAWN)


def test_a_new_model_leaves_the_others_alone(finished, checkpoints):
    told = {"title": "FOURTH", "checkpoint": str(checkpoints / "idefics3")}
    alone = {"tokens": 1, "attention": 1, "impact": 1, "features": 1, "evaluate": 1}
    tables = {"parameters": 1, "table2": 1, "table3": 1, "table4": 1, "default_table": 6}
    with changed(finished, "models", "fourth", value=told):
        assert planned(finished) == jobs(alone, tables, DRAWN, finetune=TRAINED)


def test_a_new_study_leaves_the_others_alone(finished, checkpoints):
    study = tiny(checkpoints, "idefics3")["studies"]["tiny"]
    with changed(finished, "studies", "new", value=study):
        assert planned(finished) == {}
        assert planned(finished, "results/other/table2.csv") == {}
        new = planned(finished, "results/new/table4.csv")
    data = dict.fromkeys(("scenes", "images", "annotate_instances", "samples"), 1)
    model = dict.fromkeys(("tokens", "attention", "impact", "features", "evaluate"), 1)
    assert new == {**data, **model, "finetune": TRAINED, "table4": 1}


def test_an_altered_checkpoint_reruns_its_model_alone(finished, checkpoints, tmp_path):
    shutil.copytree(checkpoints / "qwen2_vl", tmp_path / "mine")
    tables = {"parameters": 1, "table2": 1, "table3": 1, "table4": 1, "default_table": 6}
    model = {"tokens": 1, "attention": 1, "impact": 1, "features": 1, "evaluate": 1}
    with changed(finished, "models", "qwen2_vl", "checkpoint", value=str(tmp_path / "mine")):
        assert planned(finished) == jobs(model, tables, DRAWN, finetune=TRAINED)


@pytest.mark.parametrize(
    ("file", "change", "wanted"),
    [
        # a prompt: who speaks, and what follows
        ("src/headimpact/prompts.py", ("What is this photo?", "What do you see?"), ATTENDED),
        # a sign of equation (1)
        (
            "src/headimpact/impact.py",
            ("(attended & mask).sum(-1) /", "-(attended & mask).sum(-1) /"),
            SCORED,
        ),
        # the threshold of attention, where the model runs
        (
            "src/headimpact/impact.py",
            ("attention > attention.mean", "attention < attention.mean"),
            ATTENDED,
        ),
        # a table's rounding
        ("src/headimpact/tables.py", ("{row[setup]:.2f}", "{row[setup]:.3f}"), TABLE4),
        (
            "workflow/scripts/table2.py",
            ("index=False", "index=True"),
            {"table2": 1, "default_table": 1},
        ),
        # a caption of the report, and what a rule asks of a machine
        ("workflow/report/table4.rst", lambda text: text + "More words.\n", {}),
        ("workflow/rules/impact.smk", ("mem_mb=8000", "mem_mb=9000"), {}),
        # what says the same in other words
        ("src/headimpact/impact.py", ("Intersection over union of", "The overlap of"), {}),
        ("src/headimpact/scoring.py", lambda text: f"# a comment\n\n\n{text}\n# another\n", {}),
        ("src/headimpact/attend.py", lambda text: text.replace("    ", "\t"), {}),
        ("src/headimpact/features.py", lambda text: text + "\n\ndef unused():\n    return 1\n", {}),
        # an upgrade, where the package is used
        ("envs/headimpact.yaml", ("matplotlib==", "matplotlib==9."), jobs(DRAWN, FIGURE2)),
        ("envs/headimpact.yaml", ("peft==", "peft==9."), jobs(TUNED, COUNTED)),
        ("envs/headimpact.yaml", ("tqdm==", "tqdm==9."), {}),
        ("envs/headimpact.yaml", ("snakemake==", "snakemake==10."), {}),
    ],
)
def test_an_edited_file_reruns_exactly_what_its_meaning_decides(finished, file, change, wanted):
    with edited(finished, file, *(change if isinstance(change, tuple) else (change,))):
        assert planned(finished) == wanted


def test_a_changed_sign_reruns_every_study(finished):
    change = ("(attended & mask).sum(-1) /", "-(attended & mask).sum(-1) /")
    with edited(finished, "src/headimpact/impact.py", *change):
        assert planned(finished, "results/other/table2.csv") == {"impact": 1, "table2": 1}


def test_neither_a_touch_nor_a_checkout_reruns_anything(finished, tmp_path):
    """All sources as another commit has them, and back: new times, the same meaning."""
    sources = ("Snakefile", "workflow", "src", "envs", "profiles")
    for name in sources:
        for path in [finished.folder / name, *(finished.folder / name).rglob("*")]:
            path.touch()
    assert planned(finished) == {}

    def git(*arguments):
        told = ["git", "-c", "user.name=a", "-c", "user.email=a@b", f"--git-dir={tmp_path}/git"]
        subprocess.run(
            [*told, f"--work-tree={finished.folder}", *arguments], check=True, capture_output=True
        )

    git("init")
    git("add", *sources)
    git("commit", "-m", "one")
    try:
        for path in [*(finished.folder / "src").rglob("*.py"), finished.folder / "Snakefile"]:
            path.write_text(path.read_text() + "\n# another commit\n")
        change = finished.folder / "src/headimpact/impact.py"
        change.write_text(change.read_text().replace("attention >", "attention <"))
        git("commit", "-am", "two")
        assert planned(finished) == ATTENDED
    finally:
        git("checkout", "HEAD~1", "--", ".")
    assert planned(finished) == {}

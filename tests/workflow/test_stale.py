"""After an edit of a finished study, a dry run plans exactly the jobs that the edit affects."""

import copy
import shutil
import subprocess
from contextlib import contextmanager

import pytest
from projects import MINIATURES, tiny

MODELS, RUNS, TRAINED = (
    len(MINIATURES),
    4,
    3,
)  # a model's runs: original, top-2, two draws of random-2


def jobs(*counts, **more):
    """Job counts joined, {rule: count}, with the copies of the default study's results."""
    joined = {}
    for count in (*counts, more):
        joined |= count
    # of Table 4 also Markdown, the shifts as CSV and Markdown, and the ranks
    tables = {"table2": 1, "table3": 2, "table4": 5, "parameters": 2}
    tables |= {"null_table": 1, "top_stability": 1, "layers_and_depth": 1}
    figures = dict.fromkeys(("figure", "figure2", "figure6", "score_figure"), 2)  # SVG and PNG
    copies = {
        "default_table": sum(joined.get(rule, 0) * n for rule, n in tables.items()),
        "default_figure": sum(joined.get(rule, 0) * n for rule, n in figures.items()),
    }
    return joined | {rule: count for rule, count in copies.items() if count}


FROM_ANSWERS = jobs(table4=1, figure6=1)
EVALUATED = jobs(FROM_ANSWERS, evaluate=MODELS * RUNS)
TUNED = jobs(FROM_ANSWERS, finetune=MODELS * TRAINED, evaluate=MODELS * TRAINED)
COUNTED = jobs(parameters=1)
# both draws of random-2
DRAWN = jobs(
    *(FROM_ANSWERS, {"layers": MODELS * 2, "finetune": MODELS * 2, "evaluate": MODELS * 2}),
    table3=1,
)
# a dry run plans the trainings that follow from new scores; a run skips those with equal layers
FIRST_SCORED = jobs(
    *(FROM_ANSWERS, {"finetune": MODELS, "evaluate": MODELS}),  # top-2 alone is ranked by a score
    dict.fromkeys(("table2", "table3", "layers_and_depth", "null_table", "top_stability"), 1),
    **{"score": MODELS, "nulls": MODELS, "layers": MODELS, "figure": 2},
)
SCORED = jobs(FIRST_SCORED, score=2 * MODELS, score_figure=1)
ATTENDED = jobs(SCORED, attention=MODELS, untrained_attention=MODELS)
SHIFTED = jobs(shifted_tokens=MODELS, nulls=MODELS, null_table=1, figure=2)
SAMPLED = jobs(
    *(ATTENDED, TUNED, EVALUATED),
    **{"samples": 1, "questions": 1, "tokens": MODELS, "shifted_tokens": MODELS},
    **{"features": MODELS, "figure2": 1},
)


DATA = dict.fromkeys(("scenes", "images", "instances", "annotate"), 1)


@contextmanager
def changed(project, *keys, value):
    """Set a key for the duration; of the study tiny, unless `keys` begins with `studies`."""
    before = copy.deepcopy(project.config)
    config = copy.deepcopy(before)
    section = config if keys[0] == "studies" else config["studies"]["tiny"]
    for key in keys[:-1]:
        section = section.setdefault(key, {})
    if value is None:
        del section[keys[-1]]
    else:
        section[keys[-1]] = value
    try:
        project.configure(config)
        yield
    finally:
        project.configure(before)


@contextmanager
def edited(project, file, *change):
    """Change a file's text for the duration: (old, new), or a function of the text."""
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
    counts = project.planned(*targets)
    return {rule: count for rule, count in counts.items() if rule != "all"}


def test_nothing_is_stale_in_a_finished_study(finished):
    assert planned(finished) == {}
    assert planned(finished, "results/other/table2.csv") == {}


@pytest.mark.parametrize(
    ("keys", "value", "expected"),
    [
        (("title",), "another title", {}),
        (("methods",), {"lora": {"rank": 4}}, jobs(TUNED, COUNTED)),
        (("methods",), {"lora": {"dropout": 0.1}}, jobs(TUNED, COUNTED)),
        (("methods",), {"lora": {}, "other": {"kind": "lora", "rank": 4}}, {}),
        (("training", "learning_rate"), 0.01, TUNED),
        (("training", "seed"), 1, TUNED),
        (("variants",), {"fast": {"learning_rate": 0.1}}, TUNED),
        # the training of one setup
        (
            ("setups", "top-2", "training"),
            {"learning_rate": 0.01},
            jobs(FROM_ANSWERS, finetune=MODELS, evaluate=MODELS),
        ),
        # random layers
        (("layer_seed",), 1, DRAWN),
        (("setups", "random-2", "rule"), "paper", DRAWN),
        # a new setup, and a removed setup
        (
            ("setups", "full"),
            {"layers": "all"},
            jobs(FROM_ANSWERS, layers=MODELS, finetune=MODELS, evaluate=MODELS, table3=1),
        ),
        (
            ("setups", "matched-2"),
            {"layers": "matched", "to": "top-2"},
            jobs(FROM_ANSWERS, layers=MODELS, finetune=MODELS, evaluate=MODELS, table3=1),
        ),
        (("setups", "random-2"), None, jobs(FROM_ANSWERS, table3=1)),
        (
            ("setups", "random-2", "draws"),
            3,
            jobs(FROM_ANSWERS, layers=MODELS, finetune=MODELS, evaluate=MODELS, table3=1),
        ),
        # mask rules for tokens and for objects
        (("scores", "head_impact"), {"mask_share": 0.25}, jobs(FIRST_SCORED, figure2=1)),
        (("scores", "head_impact"), {"average_over": "images"}, FIRST_SCORED),
        # a score that no setup uses
        (
            ("scores", "any"),
            {"kind": "head_impact", "mask_share": 0},
            jobs(score=MODELS, table2=1, score_figure=1, layers_and_depth=1),
        ),
        # nulls
        (("nulls", "untrained"), False, jobs(nulls=MODELS, null_table=1, figure=2)),
        # no training waits for shifted masks
        (("nulls", "shifts"), 2, SHIFTED),
        (("nulls", "seed"), 2, jobs(SHIFTED, untrained_attention=MODELS)),
        (("annotator", "min_confidence"), 0.9, SAMPLED),
        (("annotator", "description"), "the {category}", jobs(SAMPLED, annotate=1)),
        (("sampling", "seed"), 1, jobs(SAMPLED, images=1, instances=1, annotate=1)),
        (("sampling", "images"), 26, jobs(SAMPLED, images=1, instances=1, annotate=1)),
        (("sampling", "order"), "area", SAMPLED),
        (("dataset", "seed"), 6, jobs(SAMPLED, scenes=1, images=1, instances=1, annotate=1)),
        (("questions",), {"seed": 3}, jobs(EVALUATED, questions=1)),
        (("questions",), {"wrong_options": "near"}, jobs(EVALUATED, questions=1)),
        (("seed_offset",), 0, {}),
        (("seed_offset",), 1000, jobs(DRAWN, SAMPLED, **DATA, layers=MODELS * 3)),
        # metrics are computed from stored answers; Figure 6 needs perplexity and another one
        (("metrics",), {"perplexity": {}, "accuracy": {}}, FROM_ANSWERS),
        (("metrics",), {"perplexity": {}}, jobs(table4=1)),
        (
            ("metrics",),
            {"p": {"kind": "answer_probability", "share_of": "vocabulary"}},
            jobs(table4=1),
        ),
        # batch sizes do not change results
        (("attention",), {"batch": 1}, {}),
        (("annotator", "batch"), 1, {}),
        (("evaluation",), {"batch": 1}, {}),
        (
            ("attention",),
            {"shards": 2},
            jobs(SCORED, attention=2 * MODELS, untrained_attention=2 * MODELS),
        ),
        (("shortcuts", "one_pass"), False, jobs(ATTENDED, EVALUATED)),
        (("shortcuts", "few_logits"), False, TUNED),
    ],
)
def test_a_changed_key_reruns_exactly_what_depends_on_it(finished, keys, value, expected):
    with changed(finished, *keys, value=value):
        assert planned(finished) == expected


TABLES = jobs(
    dict.fromkeys(("parameters", "table2", "table3", "layers_and_depth"), 1),
    **FROM_ANSWERS,
    **{"null_table": 1, "top_stability": 1, "figure": 2, "score_figure": 1},
)


def test_a_title_of_a_model_reruns_its_tables_and_figures(finished):
    with changed(finished, "models", "qwen2_vl", "title", value="another"):
        assert planned(finished) == TABLES


NULLS = ("shifted_tokens", "untrained_attention", "nulls")
MODEL = {
    **dict.fromkeys(("tokens", "attention", "features"), 1),
    **dict.fromkeys(NULLS, 1),
    **{"score": 2, "layers": RUNS, "finetune": TRAINED, "evaluate": RUNS},
}


def test_a_new_model_leaves_the_others_alone(finished, checkpoints):
    fourth = {"title": "FOURTH", "checkpoint": str(checkpoints / "idefics3")}
    with changed(finished, "models", "fourth", value=fourth):
        assert planned(finished) == jobs(MODEL, TABLES)


def test_a_new_study_leaves_the_others_alone(finished, checkpoints):
    study = tiny(checkpoints, "idefics3")["studies"]["tiny"]
    with changed(finished, "studies", "new", value=study):
        assert planned(finished) == {}
        assert planned(finished, "results/other/table2.csv") == {}
        new = planned(finished, "results/new/table4.csv")
    data = dict.fromkeys(("scenes", "images", "instances", "annotate", "samples", "questions"), 1)
    needed = {rule: n for rule, n in MODEL.items() if rule not in NULLS}
    assert new == {**data, **needed, "score": 1, "table4": 1}


def test_an_altered_checkpoint_reruns_its_model_alone(finished, checkpoints, tmp_path):
    shutil.copytree(checkpoints / "qwen2_vl", tmp_path / "altered")
    with changed(finished, "models", "qwen2_vl", "checkpoint", value=str(tmp_path / "altered")):
        assert planned(finished) == jobs(MODEL, TABLES)


# the family of one model; only layers that a score ranks depend on it
FAMILY = jobs(MODEL, TABLES, layers=1)
# all that runs or trains a model, and what depends on it
PROMPTED = jobs(ATTENDED, TUNED, EVALUATED)


@pytest.mark.parametrize(
    ("file", "change", "expected"),
    [
        ("models/prompts.py", ("What is this photo?", "What do you see?"), PROMPTED),
        # the sign of equation (1)
        (
            "scores/iou.py",
            ("(attended & mask).sum(-1) /", "-(attended & mask).sum(-1) /"),
            SCORED,
        ),
        # the threshold of attention, where the model runs
        ("scores/attention.py", ("attention > attention", "attention < attention"), ATTENDED),
        # how layers are chosen
        (
            "scores/layers.py",
            ("(decoder.ranked[:count]", "(decoder.ranked[-count:]"),
            jobs(TUNED, layers=MODELS * RUNS, table3=1, layers_and_depth=1),
        ),
        ("training/lora.py", ('bias="none"', 'bias="all"'), jobs(TUNED, EVALUATED, COUNTED)),
        ("evaluation/metrics.py", ("probabilities.sum(1)", "probabilities.max(1)"), FROM_ANSWERS),
        ("report/table4.py", ("{row[setup]:.2f}", "{row[setup]:.3f}"), FROM_ANSWERS),
        ("report/forgetting.py", ("alpha=0.3", "alpha=0.4"), jobs(figure6=1)),
        ("models/qwen2_vl.py", ("begin, tokens", "first, tokens"), FAMILY),
        # docstrings, comments and whitespace
        ("scores/iou.py", ("Intersection over union of attended", "The overlap of attended"), {}),
        ("models/continuations.py", lambda text: f"# a comment\n\n\n{text}\n# another\n", {}),
        ("scores/attention.py", lambda text: text.replace("    ", "\t"), {}),
        # new entries, which jobs receive through params
        ("table_kinds.py", ("TABLES = {", 'TABLES = {"new": {"a": "int64"},'), {}),
        (
            "study/keys.py",
            ("class Questions(Keys):", "class Questions(Keys):\n    new: int = 1"),
            {},
        ),
        (
            "score_registry.py",
            ("SCORES = {", 'SCORES = {"new": ScoreEntry("scores.new:new"),'),
            {},
        ),
        # the columns of a table
        (
            "table_kinds.py",
            ('"answer": "string"', '"answer": "string?"'),
            jobs(EVALUATED, questions=1),
        ),
    ],
)
def test_an_edited_module_reruns_exactly_what_can_reach_it(finished, file, change, expected):
    change = change if isinstance(change, tuple) else (change,)
    with edited(finished, f"src/headimpact/{file}", *change):
        assert planned(finished) == expected


@pytest.mark.parametrize(
    ("file", "change", "expected"),
    [
        (
            "scripts/table2.py",
            (
                "uncovered.to_csv(job.output.uncovered, index=False",
                "uncovered.to_csv(job.output.uncovered, index=True",
            ),
            jobs(table2=1),
        ),
        # what scripts share
        ("scripts/open_score_inputs.py", ("if tokens else None", "if attention else None"), SCORED),
        ("scripts/open_layers.py", ('["layers"]', '["more"]'), jobs(FROM_ANSWERS, table3=1)),
        ("scripts/open_answers.py", ('on="object_id"', 'on="object_id", how="left"'), FROM_ANSWERS),
        ("report/table4.rst", lambda text: text + "More words.\n", {}),
        ("rules/scores.smk", lambda text: text.replace("mem_mb=8000", "mem_mb=9000"), {}),
    ],
)
def test_an_edited_script_reruns_the_rules_that_use_it_and_a_caption_nothing(
    finished, file, change, expected
):
    change = change if isinstance(change, tuple) else (change,)
    with edited(finished, f"workflow/{file}", *change):
        assert planned(finished) == expected


@pytest.mark.parametrize(
    ("package", "expected"),
    [
        ("matplotlib", jobs(figure=2, figure2=1, figure6=1, score_figure=1)),
        ("peft", jobs(TUNED, EVALUATED, COUNTED)),
        ("tqdm", {}),
        ("snakemake", {}),
    ],
)
def test_an_upgrade_reruns_what_imports_the_package(finished, tmp_path, package, expected):
    """The metadata of an installed package claims version 99."""
    record = tmp_path / f"{package}-99.dist-info"
    record.mkdir()
    (record / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 99\n")
    finished.paths = [tmp_path]
    try:
        assert planned(finished) == expected
    finally:
        finished.paths = []


def test_a_changed_sign_reruns_every_study(finished):
    change = ("(attended & mask).sum(-1) /", "-(attended & mask).sum(-1) /")
    with edited(finished, "src/headimpact/scores/iou.py", *change):
        assert planned(finished, "results/other/table2.csv") == {"score": 2, "table2": 1}


def test_neither_a_touch_nor_a_checkout_reruns_anything(finished, tmp_path):
    """All sources get new times, and a checkout changes them and changes them back."""
    sources = ("Snakefile", "workflow", "src", "envs", "profiles")
    for name in sources:
        for path in [finished.folder / name, *(finished.folder / name).rglob("*")]:
            path.touch()
    assert planned(finished) == {}

    def git(*arguments):
        command = ["git", "-c", "user.name=a", "-c", "user.email=a@b", f"--git-dir={tmp_path}/git"]
        command += [f"--work-tree={finished.folder}", *arguments]
        subprocess.run(command, check=True, capture_output=True)

    git("init")
    git("add", *sources)
    git("commit", "-m", "one")
    try:
        for path in [*(finished.folder / "src").rglob("*.py"), finished.folder / "Snakefile"]:
            path.write_text(path.read_text() + "\n# another commit\n")
        change = finished.folder / "src/headimpact/scores/attention.py"
        change.write_text(change.read_text().replace("attention >", "attention <"))
        git("commit", "-am", "two")
        assert planned(finished) == ATTENDED
    finally:
        git("checkout", "HEAD~1", "--", ".")
    assert planned(finished) == {}

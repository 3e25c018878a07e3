"""Bad input ends the run before any job, with one line that names the key and the fix."""

import copy
import os

import pandas as pd
import pytest
from projects import tiny

from headimpact.dataset import scenes
from headimpact.guards import has_gpu


@pytest.fixture(scope="module")
def plain(project, checkpoints):
    return project(tiny(checkpoints, "qwen2_vl"))


def with_change(project, change):
    config = copy.deepcopy(project.config)
    change(config["studies"]["tiny"])
    return config


def coco(root):
    return lambda study: study.update(dataset={"kind": "coco", "root": str(root)})


CASES = {  # what test_study_errors.py cannot see: the folders, and how a run ends
    "an unknown key": (lambda study: study.update(lorra={"rank": 4}), "lorra: unknown key"),
    "a checkpoint that is not there": (
        lambda study: study["models"]["qwen2_vl"].update(checkpoint="./nowhere"),
        "models.qwen2_vl.checkpoint: no folder ./nowhere",
    ),
    "a folder that is not there": (coco("nowhere"), "dataset.root: no folder nowhere"),
    "a CSV that is not there": (
        lambda study: study.update(
            dataset={"kind": "captions", "root": ".", "captions": "nowhere.csv"},
            annotator={"name": "florence2_sam2"},
        ),
        "dataset.captions: no nowhere.csv",
    ),
    "a release that is not there": (
        lambda study: study.update(
            dataset={"kind": "coco"}, annotator={"name": "release", "release": "nowhere"}
        ),
        "annotator.release: no nowhere/dataset_masks.json",
    ),
    "a configuration that is not there": (
        lambda study: study["models"]["qwen2_vl"].update(configuration="nowhere"),
        "models.qwen2_vl.configuration: no config.json in nowhere",
    ),
    "a known answer that is not there": (
        lambda study: study["models"]["qwen2_vl"].update(known_answer="nowhere.json"),
        "models.qwen2_vl.known_answer: no file nowhere.json",
    ),
    "published layers of a model that the paper has not": (
        lambda study: study.update(setups=PUBLISHED),
        "models.qwen2_vl.published: missing",
    ),
    "published layers that the model has not": (
        lambda study: (
            study.update(setups=PUBLISHED),
            study["models"]["qwen2_vl"].update(published="Qwen2-VL"),
        ),
        "setups.top-4: layers [17, 22, 26, 27] need a decoder of more than 16",
    ),
    "more layers than the model has": (
        lambda study: study["setups"]["random-2"].update(count=6, rule="paper"),
        "setups.random-2.count: needs a decoder of 18 layers, qwen2_vl has 16",
    ),
    "layers as deep as those of no setup": (
        lambda study: study["setups"].update({"near": {"layers": "matched", "to": "top-3"}}),
        "setups.near.to: 'top-3' is no setup whose layers are some of the decoder's and not drawn; "
        "name one of top-2",
    ),
    "a checkpoint that is none": (
        lambda study: study["models"]["qwen2_vl"].update(checkpoint="./workflow"),
        "models.qwen2_vl.checkpoint: no config.json in workflow",
    ),
    "a checkpoint of another kind": (
        lambda study: study.update(
            annotator={
                "name": "florence2_sam2",
                "grounder": {"checkpoint": study["models"]["qwen2_vl"]["checkpoint"]},
            }
        ),
        "qwen2_vl is of model type qwen2_vl, not florence2",
    ),
    "a GPU that is not there": (
        lambda study: study.update(device="cuda"),
        "studies.tiny.device: cuda, and this machine has no GPU",
    ),
    "a path that no system has": (
        lambda study: study["models"]["qwen2_vl"].update(checkpoint="./" + "x" * 300),
        "File name too long",
    ),
}
RUNS = "__import__('pathlib').Path('it-ran').touch()"
PUBLISHED = {"top-4": {"layers": "published"}}


@pytest.mark.parametrize("case", CASES)
def test_the_key_is_named_before_any_job(plain, case):
    if "GPU" in case and has_gpu():
        pytest.skip("this machine has a GPU")
    change, wanted = CASES[case]
    before = plain.config
    try:
        plain.configure(with_change(plain, change))
        assert wanted in plain.refused("results/tiny/table4.csv")
    finally:
        plain.configure(before)


@pytest.mark.parametrize(
    ("content", "wanted"),
    [
        (
            f'__use_yte__: true\n"?{RUNS}": {{}}\n',
            "__use_yte__: would run code; write what it makes",
        ),
        (
            "a: !!python/object/apply:os.mkdir [it-ran]\n",
            "line 1: could not determine a constructor",
        ),
        ("default_study: tiny\nstudies: {tiny: {title: a: b}}\n", "line 2: "),
        ("", "holds no keys; add default_study and studies"),
        ("a: {b: 1, b: 2}\n", "line 1: the key b stands twice"),
    ],
)
def test_a_configuration_that_is_no_plain_yaml_is_told_and_runs_nothing(plain, content, wanted):
    before = plain.config
    try:
        whole = (plain.folder / "config.yaml").read_text()
        (plain.folder / "config.yaml").write_text(content + (whole if "it-ran" in content else ""))
        assert wanted in plain.refused("results/tiny/table4.csv")
        assert not (plain.folder / "it-ran").exists()
    finally:
        plain.configure(before)


@pytest.mark.parametrize(
    ("target", "wanted"),
    [
        ("results/nosuch/table4.csv", "studies.nosuch: missing; add it, or ask for tiny"),
        (
            "results/tiny/nosuch/scores/head_impact.parquet",
            "studies.tiny.models.nosuch: missing; add it, or ask for qwen2_vl",
        ),
        (
            "results/tiny/qwen2_vl/top-7/default/0/adapter",
            "studies.tiny.setups.top-7: missing; add it, or ask for original, top-2, random-2",
        ),
        (
            "results/tiny/qwen2_vl/top-2/fast/0/adapter",
            "studies.tiny.variants.fast: missing; add it, or ask for default",
        ),
        (
            "results/tiny/qwen2_vl/scores/best.parquet",
            "studies.tiny.scores.best: missing; add it, or ask for head_impact",
        ),
    ],
)
def test_what_no_config_knows_is_named(plain, target, wanted):
    assert wanted in plain.refused(target)


def test_a_folder_with_too_few_images_is_named(plain, tmp_path):
    scenes.write(tmp_path, 20, 0, scenes.Look(), subset="val2017")
    before = plain.config
    try:
        plain.configure(with_change(plain, coco(tmp_path)))
        line = plain.refused("results/tiny/table4.csv")
        assert "studies.tiny.sampling.images: asks for 24 images" in line
        assert "has 20; lower it" in line
    finally:
        plain.configure(before)


def test_a_comparison_with_no_model_of_the_paper_is_named(plain):
    line = plain.refused("results/tiny/comparison.csv")
    assert "studies.tiny.models: no model says which of the paper's it is; add published:" in line


def test_damaged_images_are_named_counted_and_too_many_end_the_run(project, checkpoints, tmp_path):
    scenes.write(tmp_path, 26, 0, scenes.Look(), subset="val2017")
    names = sorted(path.name for path in (tmp_path / "val2017").iterdir())
    (tmp_path / "val2017" / names[0]).write_bytes(b"not a picture")
    made = project(tiny(checkpoints, "qwen2_vl"))
    made.configure(with_change(made, coco(tmp_path)))
    made.run("results/tiny/samples.parquet")
    dropped = pd.read_parquet(made.folder / "results/tiny/dropped.parquet")
    assert dropped["file_name"].tolist() == [names[0]]
    assert names[0] in dropped["reason"][0]
    for name in names[1:4]:
        path = tmp_path / "val2017" / name
        path.write_bytes(path.read_bytes()[:200])
    done = made.snakemake("--cores", "2", "results/tiny/samples.parquet", "--forcerun", "images")
    assert done.returncode != 0
    text = done.stdout + done.stderr
    assert "24 images are wanted, 22 of 26 drawn remain (4 damaged image)" in text
    assert "sampling.images" in text and "Traceback" not in text


def test_real_photographs_run_through_the_same_graph(project, checkpoints):
    root = os.environ.get("HEADIMPACT_COCO")
    if not root:
        pytest.skip("HEADIMPACT_COCO names no folder of photographs in COCO's layout")
    made = project(tiny(checkpoints, "idefics3"))
    config = with_change(made, coco(root))
    config["studies"]["tiny"]["setups"].pop("random-2")
    config["studies"]["tiny"]["sampling"] = {"images": 40, "spare": 0.5}
    made.configure(config)
    made.run("results/tiny/table4.csv", "results/tiny/figure2.png")
    table = pd.read_csv(made.folder / "results/tiny/table4.csv")
    assert table.notna().all().all()

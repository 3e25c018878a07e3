"""Bad input ends the run before any job, with one line that names the key and the mend."""

import copy
import os

import pandas as pd
import pytest
from projects import tiny

from headimpact.dataset import scenes


@pytest.fixture(scope="module")
def plain(project, checkpoints):
    return project(tiny(checkpoints, "qwen2_vl"))


def with_change(project, change):
    config = copy.deepcopy(project.config)
    change(config["studies"]["tiny"])
    return config


def coco(root):
    return lambda study: study.update(dataset={"kind": "coco", "root": str(root)})


CASES = {
    "an unknown key": (
        lambda study: study.update(lorra={"rank": 4}),
        "studies.tiny.lorra: unknown key",
    ),
    "an unknown key deep down": (
        lambda study: study.update(lora={"rnk": 4}),
        "studies.tiny.lora.rnk: unknown key; known here: rank",
    ),
    "a wrong type": (
        lambda study: study.update(lora={"rank": "eight"}),
        "studies.tiny.lora.rank: 'eight' is not of type 'integer'; a whole number from 1",
    ),
    "an unknown way to choose layers": (
        lambda study: study["setups"]["top-2"].update(layers="best"),
        "studies.tiny.setups.top-2.layers: 'best' is none of none, top, bottom, random, all",
    ),
    "a setup without its count": (
        lambda study: study["setups"].update({"top-9": {"layers": "top"}}),
        "studies.tiny.setups.top-9.count: missing",
    ),
    "no models": (lambda study: study.pop("models"), "'models' is a required property; add it"),
    "a checkpoint that is not there": (
        lambda study: study["models"]["qwen2_vl"].update(checkpoint="./nowhere"),
        "studies.tiny.models.qwen2_vl.checkpoint: no folder ./nowhere",
    ),
    "a split larger than the data": (
        lambda study: study["sampling"].update(images=27),
        "studies.tiny.sampling.images: asks for 27 of 26 scenes; lower it",
    ),
    "a folder that is not there": (
        coco("nowhere"),
        "studies.tiny: dataset.root: no folder nowhere",
    ),
    "another part of COCO than is downloaded": (
        lambda study: study.update(dataset={"kind": "coco", "subset": "train2017"}),
        "studies.tiny.dataset.root: missing; only val2017 is downloaded, name the folder that",
    ),
    "scenes without a number": (
        lambda study: study.update(dataset={"kind": "scenes"}),
        "studies.tiny.dataset.images: missing; say how many scenes to draw",
    ),
    "a CSV that is not there": (
        lambda study: study.update(
            dataset={"kind": "captions", "root": ".", "captions": "nowhere.csv"},
            annotator={"name": "florence2_sam2"},
        ),
        "studies.tiny.dataset.captions: no nowhere.csv; name a CSV of file and caption",
    ),
    "COCO's masks where there are none": (
        lambda study: study.update(
            dataset={"kind": "captions", "root": ".", "captions": "config.yaml"}
        ),
        "studies.tiny.annotator.name: instances has masks of COCO's own images, none of those of",
    ),
    "an unknown annotator": (
        lambda study: study.update(annotator={"name": "sam3"}),
        "studies.tiny.annotator.name: 'sam3' is none of instances, florence2_sam2, release",
    ),
    "a release that is not there": (
        lambda study: study.update(
            dataset={"kind": "coco"}, annotator={"name": "release", "release": "nowhere"}
        ),
        "studies.tiny.annotator.release: no nowhere/dataset_masks.json",
    ),
    "neither a folder nor a hub id": (
        lambda study: study["models"]["qwen2_vl"].update(checkpoint="qwen"),
        "studies.tiny.models.qwen2_vl.checkpoint: qwen is neither a folder nor a hub id such as",
    ),
    "a configuration that is not there": (
        lambda study: study["models"]["qwen2_vl"].update(configuration="nowhere"),
        "studies.tiny.models.qwen2_vl.configuration: no config.json in nowhere",
    ),
    "published layers of a model that the paper has not": (
        lambda study: study.update(layer_choice="published", setups=TOP_4),
        "studies.tiny.models.qwen2_vl.published: missing; say which model of the paper's Table 3",
    ),
    "published layers of a model that is misspelt": (
        lambda study: (
            study.update(layer_choice="published", setups=TOP_4),
            study["models"]["qwen2_vl"].update(published="Qwen2VL"),
        ),
        "studies.tiny.models.qwen2_vl.published: Qwen2VL is none of the paper's PaliGemma2, Qwen2",
    ),
    "published layers of a setup that the paper has not": (
        lambda study: study.update(layer_choice="published"),
        "studies.tiny.setups.top-2: the paper has no layers for it; rename it to one of top-4",
    ),
    "published layers that the model has not": (
        lambda study: (
            study.update(layer_choice="published", setups=TOP_4),
            study["models"]["qwen2_vl"].update(published="Qwen2-VL"),
        ),
        "studies.tiny.models.qwen2_vl.published: top-4 trains layer 27, this decoder has 12",
    ),
    "more layers than the model has": (
        lambda study: study["setups"]["random-2"].update(count=5),
        "studies.tiny.setups.random-2.count: 5 random layers want a decoder of 15, qwen2_vl has 12",
    ),
    "two models of one title": (
        lambda study: study["models"].update(other=study["models"]["qwen2_vl"]),
        "studies.tiny.models.other.title: QWEN2_VL is the title of qwen2_vl too",
    ),
    "an original that is trained": (
        lambda study: study["setups"].update(original={"layers": "all"}),
        "studies.tiny.setups.original: original is the setup that trains no layer",
    ),
    "no setups": (lambda study: study.update(setups={}), "studies.tiny.setups: {} "),
    "a checkpoint that is none": (
        lambda study: study["models"]["qwen2_vl"].update(checkpoint="./workflow"),
        "studies.tiny.models.qwen2_vl.checkpoint: workflow/config.json cannot be read",
    ),
    "a checkpoint of another kind": (
        lambda study: study.update(
            annotator={
                "name": "florence2_sam2",
                "grounder": {"checkpoint": study["models"]["qwen2_vl"]["checkpoint"]},
            }
        ),
        "qwen2_vl is of model type qwen2_vl, not florence2; name another",
    ),
    "a number that YAML reads as text": (
        lambda study: study.update(training={"learning_rate": "1e-4"}),
        "studies.tiny.training.learning_rate: '1e-4' is text; write 0.0001",
    ),
    "a model's name that is no file's": (
        lambda study: study["models"].update({"my model": study["models"].pop("qwen2_vl")}),
        "a name is of letters, digits, _ and -",
    ),
    "a name with a line's end": (
        lambda study: study["setups"].update({"top-3\n": {"layers": "top", "count": 3}}),
        "'top-3\\n' does not match",
    ),
    "a number that is none": (
        lambda study: study.update(training={"learning_rate": float("nan")}),
        "studies.tiny.training.learning_rate: nan is no number; correct it",
    ),
    "a key that YAML reads as something else": (
        lambda study: study["setups"].update({False: {"layers": "all"}}),
        "studies.tiny.setups.False: a key that is no text; quote it",
    ),
    "more draws than anyone waits for": (
        lambda study: study["setups"]["random-2"].update(draws=10**12),
        "studies.tiny.setups.random-2.draws: 1000000000000 is greater than the maximum of 10000",
    ),
    "a path that no system has": (
        lambda study: study["models"]["qwen2_vl"].update(checkpoint="./" + "x" * 300),
        "File name too long; correct the path",
    ),
    "a title of two lines": (
        lambda study: (
            study["models"]["qwen2_vl"].update(title="a\nb"),
            study["models"].update(other=study["models"]["qwen2_vl"]),
        ),
        "studies.tiny.models.other.title: a b is the title of qwen2_vl too; tables tell models",
    ),
    "a revision that is a path": (
        lambda study: study["models"]["qwen2_vl"].update(revision="refs/pr/3"),
        "studies.tiny.models.qwen2_vl.revision: 'refs/pr/3' does not match",
    ),
}
RUNS = "__import__('pathlib').Path('it-ran').touch()"
TOP_4 = {"top-4": {"layers": "top", "count": 4}}


@pytest.mark.parametrize("case", CASES)
def test_the_key_and_the_mend_are_named(plain, case):
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
        ("", "holds no keys; it wants default_study and studies"),
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
            "results/tiny/nosuch/head_scores.parquet",
            "studies.tiny.models.nosuch: missing; add it, or ask for qwen2_vl",
        ),
        (
            "results/tiny/qwen2_vl/top-7/0/adapter",
            "studies.tiny.setups.top-7: missing; add it, or ask for original, top-2, random-2",
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


def test_a_table_that_was_altered_ends_the_run_in_a_line(project, checkpoints):
    made = project(tiny(checkpoints, "qwen2_vl"))
    made.run("results/tiny/samples.parquet")
    path = made.folder / "results/tiny/samples.parquet"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    done = made.snakemake("--cores", "2", "results/tiny/qwen2_vl/tokens.parquet")
    assert done.returncode != 0 and "Traceback" not in done.stdout + done.stderr
    assert (
        "tokens: results/tiny/samples.parquet: damaged, or not written by headimpact; "
        "delete it and run again"
    ) in done.stderr.splitlines()


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

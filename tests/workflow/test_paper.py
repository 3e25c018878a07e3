"""The paper's study in config.yaml, from downloads to tables, with small checkpoints."""

import copy
import json

import pandas as pd
import pytest
import yaml
from hub import COMMIT
from internet import Internet
from projects import ROOT

from headimpact import artifacts
from headimpact.dataset.release import Release

PAPER = yaml.safe_load((ROOT / "config.yaml").read_text())
# up to 16 images of the release for the split impact, and 32 other images
SAMPLING = {
    "images": 48,
    "spare": 1,
    "proportions": {"impact": 16, "train": 16, "validation": 8, "test": 8},
}


@pytest.fixture(scope="module")
def internet(tmp_path_factory, checkpoints):
    return Internet(tmp_path_factory.mktemp("internet"), checkpoints)


def shrink(config, downloads):
    """The studies of config.yaml, with smaller sizes and other download addresses."""
    config = copy.deepcopy(config)
    config["downloads"] = downloads
    config["default_study"] = "paper"
    config["studies"] = {
        name: study for name, study in config["studies"].items() if name.startswith("paper")
    }
    for study in config["studies"].values():
        study["device"] = "cpu"
        study["sampling"] = SAMPLING
        study["annotator"]["shards"] = 2
        study["annotator"]["min_confidence"] = 0.85
        study["training"] = {"epochs": 1}
        study["setups"] = {
            "original": {"layers": "none"},
            "top-4": {"layers": "top", "count": 4},
            "random-4": {"layers": "random", "count": 4},
        }
    published = {name: {"layers": "published"} for name in ("top-4", "random-4")}
    config["studies"]["paper_layers"]["setups"] = {"original": {"layers": "none"}, **published}
    return config


@pytest.fixture(scope="module")
def paper(project, internet):
    """The study, fetched from local servers and computed without a network."""
    with internet.running() as (environment, downloads):
        workflow = project(shrink(PAPER, downloads))
        internet.write_downloads_table(workflow)
        workflow.servers = {**environment, "HF_TOKEN": "hf_licensed"}
        workflow.fetched = workflow.run("fetch")
    workflow.servers = {}
    workflow.output = workflow.run("results/paper/comparison.csv", "results/paper/release")
    return workflow


def test_a_missing_licence_ends_the_run_before_any_job(project, internet):
    with internet.running() as (environment, downloads):
        workflow = project(shrink(PAPER, downloads))
        internet.write_downloads_table(workflow)
        workflow.servers = environment
        line = workflow.refused("results/paper/table4.csv", start="google/")
    assert line == (
        "google/paligemma2-3b-mix-448: gated; accept its licence at "
        "https://huggingface.co/google/paligemma2-3b-mix-448 and set HF_TOKEN to a token of "
        "that account"
    )
    assert not (workflow.folder / "data").exists()


def test_no_job_after_fetch_needs_the_network_and_no_file_holds_the_token(paper):
    assert not paper.connections.exists()
    assert "The paper's: snakemake --cores 4 results/paper/table4.csv" in paper.output
    data = paper.folder / "data"
    assert not list(data.rglob("*.zip*")) and not list(data.rglob("*keypoints*"))
    record = json.loads((data / "checkpoints/google/paligemma2-3b-mix-448@main.json").read_text())
    assert record["commit"] == COMMIT
    for path in paper.folder.rglob("*"):
        if path.is_file() and path.stat().st_size < 1 << 20:
            assert b"hf_licensed" not in path.read_bytes(), path


def test_the_impact_split_is_the_release_and_no_image_is_in_two_splits(paper, internet):
    results = paper.folder / "results/paper"
    samples = artifacts.read(results / "samples.parquet", "samples")
    released = set(internet.released_images())
    assert samples["image_id"].is_unique
    assert samples["image_id"].isin(released).tolist() == (samples["split"] == "impact").tolist()
    sizes = samples["split"].value_counts()
    assert sizes.drop("impact").to_dict() == {"train": 16, "validation": 8, "test": 8}
    counts = pd.read_csv(results / "annotation_counts.csv")
    count_of = counts.set_index(["annotator", "unit", "outcome"])["count"]
    assert count_of["release", "image", "in the study"] == sizes["impact"]
    assert count_of["release", "object", "left out: confidence below 0.85"] > 0
    assert count_of["florence2_sam2", "object", "found"] > 30
    assert count_of["florence2_sam2", "image", "in the study"] == 32
    assert (counts["count"] >= 0).all()
    objects = artifacts.read(results / "objects.parquet", "objects")
    assert (objects["confidence"] >= 0.85).all()


def test_every_result_names_its_checkpoint_s_commit(paper):
    results = paper.folder / "results/paper"
    for path in sorted(results.glob("*/**/*.parquet")):
        record = artifacts.provenance(path)
        if path.parent.name == "annotations":
            if "florence2" in path.name:
                assert record["grounder"]["commit"] == record["segmenter"]["commit"] == COMMIT
            else:
                assert record["release"] == paper.config["downloads"]["release_commit"]
            continue
        checkpoint = record["checkpoint"]
        assert checkpoint["commit"] == COMMIT and checkpoint["revision"] is None, path
        assert "identity" in checkpoint and str(paper.folder) not in json.dumps(record)
    adapter = results / "paligemma2/top-4/default/0/adapter/adapter_config.json"
    settings = json.loads(adapter.read_text())
    assert settings["base_model_name_or_path"] == "google/paligemma2-3b-mix-448"
    assert str(paper.folder) not in adapter.read_text()


def test_the_comparison_has_every_published_number(paper):
    table = pd.read_csv(paper.folder / "results/paper/comparison.csv", dtype={"published": str})
    assert table["table"].value_counts(sort=False).to_dict() == {
        **{"table1": 9, "table2": 12, "table3": 36, "table4": 45, "table5": 9},
    }
    exact = table[table["table"].isin(["table1", "table5"])]
    assert exact["inside"].astype(str).eq("True").all()
    assert exact["ours"].notna().all()
    setups = (
        table[table["table"] == "table4"].groupby("setup")["ours"].agg(lambda x: x.notna().all())
    )
    assert setups.to_dict() == {
        **dict.fromkeys(["original", "top-4", "random-4"], True),
        **dict.fromkeys(["bottom-4", "full"], False),
    }


def test_our_annotations_are_written_in_the_authors_format(paper, internet):
    release = Release(paper.folder / "results/paper/release")
    release.check()
    images = artifacts.read(paper.folder / "results/paper/images.parquet", "images")
    assert release.samples()["image_id"].tolist() == images["image_id"].tolist()
    expected = Release(internet.folder / "release").objects()
    common = release.objects().merge(
        expected, on=["image_id", "description", "x0", "y0", "x1", "y1"]
    )
    assert len(common) >= 20
    assert (common["confidence_x"] == common["confidence_y"]).all()


def test_a_second_run_plans_nothing(paper):
    assert "Nothing to be done" in paper.run("results/paper/comparison.csv")
    planned = paper.planned("results/paper/comparison.csv")
    assert planned == {}


def test_fetch_writes_a_deleted_record_of_a_checkpoint_again(paper, internet):
    record = paper.folder / "data/checkpoints/google/paligemma2-3b-mix-448@main.json"
    content = record.read_text()
    record.unlink()
    with internet.running() as (environment, _):
        paper.servers = {**environment, "HF_TOKEN": "hf_licensed"}
        paper.run("fetch")
    paper.servers = {}
    assert record.read_text() == content
    assert paper.planned("results/paper/comparison.csv") == {}


def test_the_papers_layers_can_be_trained(paper):
    planned = paper.planned("results/paper_layers/table4.csv")
    # published layers need no Head Impact, and all downloads are shared with the study paper
    assert planned["finetune"] == 6 and planned["evaluate"] == 9
    assert not {"attention", "score", "coco", "release", "checkpoint"} & set(planned)
    annotated = paper.planned("results/paper_annotated/table4.csv")
    assert annotated["annotate"] == 2 and "release" not in annotated

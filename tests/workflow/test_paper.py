"""The paper's study of config.yaml, from its downloads to its tables, on small checkpoints."""

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
# as many of the release's images as there are, and a few others
SAMPLING = {
    "images": 48,
    "spare": 1,
    "proportions": {"impact": 16, "train": 16, "validation": 8, "test": 8},
}


@pytest.fixture(scope="module")
def internet(tmp_path_factory, checkpoints):
    return Internet(tmp_path_factory.mktemp("internet"), checkpoints)


def small(config, downloads):
    """The studies of config.yaml as they stand, but for their size and where they fetch from."""
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
def made(project, internet):
    """The study, fetched with a network and computed without one."""
    with internet.running() as (environment, downloads):
        made = project(small(PAPER, downloads))
        internet.set_up(made)
        made.servers = {**environment, "HF_TOKEN": "hf_licensed"}
        made.fetched = made.run("fetch")
    made.servers = {}
    made.output = made.run("results/paper/comparison.csv", "results/paper/release")
    return made


def test_a_missing_licence_ends_the_run_before_any_other_work(project, internet):
    with internet.running() as (environment, downloads):
        made = project(small(PAPER, downloads))
        internet.set_up(made)
        made.servers = environment
        line = made.refused("results/paper/table4.csv", start="google/")
    assert line == (
        "google/paligemma2-3b-mix-448: gated; accept its licence at "
        "https://huggingface.co/google/paligemma2-3b-mix-448 and set HF_TOKEN to a token of "
        "that account"
    )
    assert not (made.folder / "data").exists()


def test_all_is_fetched_first_and_nothing_asks_the_network_after_it(made):
    assert not made.connections.exists()
    assert "The paper's: snakemake --cores 4 results/paper/table4.csv" in made.output
    data = made.folder / "data"
    assert not list(data.rglob("*.zip*")) and not list(data.rglob("*keypoints*"))
    record = json.loads((data / "checkpoints/google/paligemma2-3b-mix-448@main.json").read_text())
    assert record["commit"] == COMMIT
    for path in made.folder.rglob("*"):
        if path.is_file() and path.stat().st_size < 1 << 20:
            assert b"hf_licensed" not in path.read_bytes(), path


def test_head_impact_is_on_the_release_and_no_image_is_in_two_splits(made, internet):
    results = made.folder / "results/paper"
    samples = artifacts.read(results / "samples.parquet", "samples")
    released = set(internet.released_images())
    assert samples["image_id"].is_unique
    assert samples["image_id"].isin(released).tolist() == (samples["split"] == "impact").tolist()
    sizes = samples["split"].value_counts()
    assert sizes.drop("impact").to_dict() == {"train": 16, "validation": 8, "test": 8}
    counts = pd.read_csv(results / "annotation_counts.csv")
    told = counts.set_index(["annotator", "unit", "outcome"])["count"]
    assert told["release", "image", "in the study"] == sizes["impact"]
    assert told["release", "object", "left out: confidence below 0.85"] > 0
    assert told["florence2_sam2", "object", "found"] > 30
    assert told["florence2_sam2", "image", "in the study"] == 32
    assert (counts["count"] >= 0).all()
    objects = artifacts.read(results / "objects.parquet", "objects")
    assert (objects["confidence"] >= 0.85).all()


def test_every_result_names_its_checkpoint_s_commit(made):
    results = made.folder / "results/paper"
    for path in sorted(results.glob("*/**/*.parquet")):
        record = artifacts.provenance(path)
        if path.parent.name == "annotations":
            if "florence2" in path.name:
                assert record["grounder"]["commit"] == record["segmenter"]["commit"] == COMMIT
            else:
                assert record["release"] == made.config["downloads"]["release_commit"]
            continue
        told = record["checkpoint"]
        assert told["commit"] == COMMIT and told["revision"] is None, path
        assert "identity" in told and str(made.folder) not in json.dumps(record)
    adapter = results / "paligemma2/top-4/default/0/adapter/adapter_config.json"
    told = json.loads(adapter.read_text())
    assert told["base_model_name_or_path"] == "google/paligemma2-3b-mix-448"
    assert str(made.folder) not in adapter.read_text()


def test_every_published_number_stands_beside_ours(made):
    table = pd.read_csv(made.folder / "results/paper/comparison.csv", dtype={"published": str})
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


def test_our_annotations_are_written_as_the_authors_wrote_theirs(made, internet):
    ours = Release(made.folder / "results/paper/release")
    ours.check()
    images = artifacts.read(made.folder / "results/paper/images.parquet", "images")
    assert ours.samples()["image_id"].tolist() == images["image_id"].tolist()
    theirs = Release(internet.folder / "release").objects()
    left = ours.objects().merge(theirs, on=["image_id", "description", "x0", "y0", "x1", "y1"])
    assert len(left) >= 20
    assert (left["confidence_x"] == left["confidence_y"]).all()


def test_the_second_run_and_a_changed_key_need_no_network(made):
    assert "Nothing to be done" in made.run("results/paper/comparison.csv")
    planned = made.planned("results/paper/comparison.csv")
    assert planned == {}


def test_fetch_asks_the_hub_again_for_a_checkpoint_whose_record_is_deleted(made, internet):
    record = made.folder / "data/checkpoints/google/paligemma2-3b-mix-448@main.json"
    content = record.read_text()
    record.unlink()
    with internet.running() as (environment, _):
        made.servers = {**environment, "HF_TOKEN": "hf_licensed"}
        made.run("fetch")
    made.servers = {}
    assert record.read_text() == content
    assert made.planned("results/paper/comparison.csv") == {}


def test_the_papers_layers_can_be_trained(made):
    planned = made.planned("results/paper_layers/table4.csv")
    # no Head Impact is needed, and the same release, photographs and checkpoints
    assert planned["finetune"] == 6 and planned["evaluate"] == 9
    assert not {"attention", "score", "coco", "release", "checkpoint"} & set(planned)
    throughout = made.planned("results/paper_annotated/table4.csv")
    assert throughout["annotate"] == 2 and "release" not in throughout

"""The whole graph on a very small study: what it makes, and what a change makes it do again."""

import copy

import pandas as pd
import pytest
from PIL import Image
from projects import tiny

from headimpact import artifacts

ALL = ("paligemma2", "qwen2_vl", "idefics3")


@pytest.fixture(scope="module")
def finished(project, checkpoints):
    """All tables and figures of three random models, made once."""
    made = project(tiny(checkpoints, *ALL))
    made.output = made.run()
    return made


def test_all_tables_and_figures_are_there(finished):
    results = finished.folder / "results"
    table = pd.read_csv(results / "table4.csv")
    setups = ["original", "top-2", "random-2"]
    columns = [name for setup in setups for name in (setup, f"{setup}_error")]
    assert list(table.columns) == ["model", "metric", *columns]
    assert list(table["model"].unique()) == [name.upper() for name in ALL]
    assert len(table) == 9 and table.notna().all().all()
    assert len(pd.read_csv(results / "tiny/table4_draws.csv")) == 3 * 3 * 4
    layers = pd.read_csv(results / "table3.csv")
    chosen = layers[layers["setup"] != "original"]["layers"].str.split(", ")
    assert chosen.str.len().eq(2).all()
    assert pd.read_csv(results / "table1.csv")["layers"].tolist() == [12] * 3
    assert len(pd.read_csv(results / "table2.csv").columns) == 7
    # q: 96 x 96, k and v: 96 x 48 at rank 8, two layers
    wanted = 2 * 8 * ((96 + 96) + 2 * (96 + 48))
    assert pd.read_csv(results / "table5.csv")["trainable"].tolist() == [wanted] * 3
    for number in (2, 4, 5):
        with Image.open(results / f"figure{number}.png") as image:
            image.load()
        assert (results / f"figure{number}.svg").read_text().startswith("<?xml")
    assert "| **" in (results / "table4.md").read_text()


def test_it_says_whose_study_it_is_and_shows_progress(finished):
    last = finished.output.strip().splitlines()[-12:]
    assert any("is the study tiny: a very small study" in line for line in last)
    assert any("results/ are copies of the study tiny's" in line for line in last)
    # its configuration has no such study
    assert not any("results/paper" in line for line in last)
    log = finished.folder / "results/tiny/logs/qwen2_vl.attention.0.log"
    assert "attention: 100%" in log.read_text()


def test_no_connection_was_tried(finished):
    assert not finished.connections.exists()


def test_the_second_run_does_nothing(finished):
    assert "Nothing to be done" in finished.run()


def test_the_report_holds_tables_and_figures(finished):
    done = finished.snakemake("--report", "report.html")
    assert done.returncode == 0, done.stderr
    text = (finished.folder / "report.html").read_text()
    items = [f"Table {number}" for number in range(1, 6)]
    for item in [*items, *(f"Figure {number}" for number in (2, 4, 5))]:
        assert item in text


def test_every_artifact_says_where_it_comes_from(finished):
    path = finished.folder / "results/tiny/qwen2_vl/top-2/0/metrics.parquet"
    record = artifacts.provenance(path)
    assert record["study"] == "tiny" and record["setup"] == "top-2"
    assert record["versions"]["torch"] and record["code"]
    assert record["checkpoint"]["checkpoint"].endswith("qwen2_vl")
    samples = artifacts.read(finished.folder / "results/tiny/samples.parquet", "samples")
    assert samples["image_id"].is_unique


def test_the_same_seed_gives_the_same_tables(finished, project, checkpoints):
    again = project(tiny(checkpoints, "qwen2_vl"))
    again.run("results/table4.csv", "results/table3.csv")
    for name in ("table3.csv", "table4.csv"):
        first = pd.read_csv(finished.folder / "results" / name)
        second = pd.read_csv(again.folder / "results" / name)
        mine = first[first["model"] == "QWEN2_VL"].reset_index(drop=True)
        pd.testing.assert_frame_equal(mine, second, check_exact=True)


TUNED = {"finetune", "evaluate", "table4", "default_table"}


@pytest.mark.parametrize(
    ("keys", "value", "rules"),
    [
        (("lora", "rank"), 4, {*TUNED, "parameters", "default_table"}),
        (("training", "learning_rate"), 0.01, TUNED),
        (("setups", "top-2", "training"), {"epochs": 2}, TUNED),
        (
            ("impact", "mask_share"),
            0.25,
            {*TUNED, "impact", "table2", "table3", "figure2", "figure", "default_figure"},
        ),
        (("evaluation", "answer_probability"), "vocabulary", {"table4", "default_table"}),
        (("evaluation", "seed"), 3, {"evaluate", "table4", "default_table"}),
        (("title",), "another title", set()),
    ],
)
def test_a_changed_key_reruns_what_depends_on_it(finished, keys, value, rules):
    before = copy.deepcopy(finished.config)
    changed = copy.deepcopy(before)
    place = changed["studies"]["tiny"]
    for key in keys[:-1]:
        place = place.setdefault(key, {})
    place[keys[-1]] = value
    try:
        finished.configure(changed)
        assert set(finished.planned()) - {"all"} == rules
    finally:
        finished.configure(before)


def test_one_setup_alone_is_trained_anew(finished):
    before = copy.deepcopy(finished.config)
    changed = copy.deepcopy(before)
    changed["studies"]["tiny"]["setups"]["top-2"]["training"] = {"learning_rate": 0.002}
    try:
        finished.configure(changed)
        assert finished.planned()["finetune"] == 3
    finally:
        finished.configure(before)


def test_code_counts_by_what_it_means(finished):
    source = finished.folder / "src/headimpact/impact.py"
    text = source.read_text()
    try:
        source.write_text("# a comment\n" + text.replace("What equals the mean", "Equal values"))
        for path in (finished.folder / "src").rglob("*.py"):
            path.touch()
        assert finished.planned() == {}
        source.write_text(text.replace("attention > attention.mean", "attention < attention.mean"))
        planned = set(finished.planned())
        assert {"attention", "impact", "finetune"} <= planned
        assert not planned & {"scenes", "images", "annotate_instances", "samples", "tokens"}
    finally:
        source.write_text(text)

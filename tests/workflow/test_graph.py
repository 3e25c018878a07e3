"""The full workflow on a very small study: its results, and what a change reruns."""

import copy
import hashlib
import json
import re
import shutil

import pandas as pd
import torch
from PIL import Image
from projects import MINIATURES, tiny
from safetensors.torch import load_file

from headimpact import artifacts
from headimpact.models import features

RUNS = 4  # for each model


def test_all_tables_and_figures_are_written(finished):
    results = finished.folder / "results"
    table = pd.read_csv(results / "table4.csv")
    setups = ["original", "top-2", "random-2"]
    columns = [name for setup in setups for name in (setup, f"{setup}_error")]
    assert list(table.columns) == ["model", "metric", *columns]
    assert list(table["model"].unique()) == [name.upper() for name in MINIATURES]
    assert len(table) == 12 and table.notna().all().all()
    assert len(pd.read_csv(results / "tiny/table4_draws.csv")) == 3 * 4 * 4
    shifts = pd.read_csv(results / "table4_shifts.csv")
    # top-2 and random-2 against original, one against the other twice, two draws of random-2
    counts = {"original": 2, "top": 1, "largest": 1, "draw": 2}
    assert shifts["comparison"].value_counts().to_dict() == {
        comparison: 3 * 4 * count for comparison, count in counts.items()
    }
    assert shifts[["shift", "low", "high", "p_value"]].notna().all().all()
    assert "top-2 against random-2" in (results / "table4_shifts.md").read_text()
    forgetting = pd.read_csv(results / "tiny/forgetting.csv")
    assert len(forgetting) == 3 * 3 and forgetting.notna().all().all()  # a row a training
    pd.testing.assert_series_equal(
        forgetting.query("setup == 'random-2'")["log_odds_change"],
        shifts.query("comparison == 'draw' and metric == 'Log-odds'")["shift"],
        check_names=False,
        check_index=False,
    )
    assert pd.read_csv(results / "table4_ranks.csv")["draws"].tolist() == [2] * 3 * 4
    layers = pd.read_csv(results / "table3.csv")
    chosen = layers[layers["setup"] != "original"]["layers"].str.split(", ")
    assert chosen.str.len().eq(2).all()
    assert pd.read_csv(results / "table1.csv")["layers"].tolist() == [16] * 3
    tests = pd.read_csv(results / "table2.csv")
    assert len(tests) == 2 * 3 and len(tests.columns) == 8
    nulls = pd.read_csv(results / "nulls.csv").set_index(["null", "model"])
    assert list(nulls.index.levels[0].sort_values()) == [
        *("attended share", "other objects", "random tokens", "shifted masks", "untrained model")
    ]
    # the models have random weights themselves, of another seed
    assert (nulls.loc["untrained model", "difference"].abs() < 0.1).all()
    assert (nulls.loc["untrained model", "difference"] != 0).all()
    stability = pd.read_csv(results / "top_stability.csv")
    assert stability["model"].nunique() == 3 and stability["overlap"].between(0, 1).all()
    # q: 96 x 96, k and v: 96 x 48 at rank 8, two layers
    parameters = 2 * 8 * ((96 + 96) + 2 * (96 + 48))
    assert pd.read_csv(results / "table5.csv")["trainable"].tolist() == [parameters] * 3
    for name in ("2", "4", "5", "6", "_specific_head_impact"):
        with Image.open(results / f"figure{name}.png") as image:
            image.load()
        assert (results / f"figure{name}.svg").read_text().startswith("<?xml")
    assert "| **" in (results / "table4.md").read_text()


def test_a_run_names_its_study_and_logs_progress(finished):
    last = finished.output.strip().splitlines()[-12:]
    assert any("is the study tiny: a very small study" in line for line in last)
    assert any("results/ are copies of the study tiny's" in line for line in last)
    # this configuration has no study `paper`
    assert not any("results/paper" in line for line in last)
    log = finished.folder / "results/tiny/logs/qwen2_vl.attention.0.log"
    assert "attention: 100%" in log.read_text()


def test_no_connection_was_tried(finished):
    assert not finished.connections.exists()


def test_the_second_run_does_nothing(finished):
    assert "Nothing to be done" in finished.run()


def test_the_report_contains_tables_and_figures(finished):
    result = finished.snakemake("--report", "report.html")
    assert result.returncode == 0, result.stderr
    text = (finished.folder / "report.html").read_text()
    items = [f"Table {number}" for number in range(1, 6)]
    items += ["Table 4: paired shifts", "Table 4: ranks among random draws"]
    items += ["Figure 6: learned and forgotten", "Figure 6: its numbers"]
    for item in [*items, *(f"Figure {number}" for number in (2, 4, 5))]:
        assert item in text


def test_an_artifact_records_its_provenance(finished):
    path = finished.folder / "results/tiny/qwen2_vl/top-2/default/0/answers.parquet"
    record = artifacts.provenance(path)
    assert record["study"] == "tiny" and record["model"] == "qwen2_vl"
    assert record["versions"]["torch"] and record["code"]
    assert record["checkpoint"]["checkpoint"].endswith("qwen2_vl")
    samples = artifacts.read(finished.folder / "results/tiny/samples.parquet", "samples")
    assert samples["image_id"].is_unique


def test_image_features_are_stored_for_all_splits_but_impact(finished):
    samples = artifacts.read(finished.folder / "results/tiny/samples.parquet", "samples")
    used = set(samples[samples["split"] != "impact"]["sample_id"])
    for model in MINIATURES:
        assert set(features.load(finished.folder / f"results/tiny/{model}/features.json")) == used


def test_deleted_features_are_computed_again_for_training_and_evaluation(finished):
    shutil.rmtree(finished.folder / "results/tiny/qwen2_vl/features")
    assert "Nothing to be done" in finished.run()
    answers = finished.folder / "results/tiny/qwen2_vl/top-2/default/0/answers.parquet"
    expected = artifacts.read(answers, "answers")
    history = finished.folder / "results/tiny/qwen2_vl/top-2/default/0/history.json"
    adapter = history.parent / "adapter/adapter_model.safetensors"
    before = load_file(adapter)
    history.unlink()
    finished.run(str(history.relative_to(finished.folder)))
    after = load_file(adapter)
    log = finished.folder / "results/tiny/logs/qwen2_vl.finetune.top-2.default.0.log"
    log = log.read_text()
    assert "images: 100%" in log, "it computes them itself"
    assert all(torch.equal(value, after[key]) for key, value in before.items())
    finished.run()
    pd.testing.assert_frame_equal(
        artifacts.read(answers, "answers").sort_values("object_id", ignore_index=True),
        expected.sort_values("object_id", ignore_index=True),
        rtol=1e-5,
    )


def test_the_layers_of_table_3_are_those_that_were_trained(finished):
    table = pd.read_csv(finished.folder / "results/tiny/table3.csv", dtype=str)
    models = {name.upper(): name for name in MINIATURES}
    for row in table[table["setup"] != "original"].itertuples():
        folder = finished.folder / f"results/tiny/{models[row.model]}/{row.setup}"
        trained = {
            int(re.search(r"\.layers\.(\d+)\.", name)[1])
            for name in load_file(folder / f"default/{row.draw}/adapter/adapter_model.safetensors")
        }
        assert trained == set(map(int, row.layers.split(", ")))
        layers = json.loads((folder / row.draw / "layers.json").read_text())
        assert set(layers["layers"]) == trained
        assert layers.get("by") == ("head_impact" if row.setup == "top-2" else None)


def test_table_3_shows_what_top_layers_share_with_others_and_with_the_first(finished):
    folder = finished.folder / "results"
    table = pd.read_csv(folder / "table3.csv", dtype=str, keep_default_na=False)
    assert table.groupby("setup")["overlap_with_top"].unique()["top-2"].tolist() == ["2"]
    assert (table.loc[table["setup"] == "original", "overlap_with_top"] == "0").all()
    depth = pd.read_csv(folder / "layers_and_depth.csv")
    assert depth["score"].tolist() == ["Head Impact", "specific Head Impact"] * 3
    depth = depth[depth["setup"] == "top-2"]  # ranked by Head Impact
    assert depth["model"].tolist() == [name.upper() for name in MINIATURES]
    assert (depth["score"] == "Head Impact").all()
    lines = (folder / "table3.md").read_text().splitlines()[-3:]
    for line, row in zip(lines, depth.itertuples(), strict=True):
        assert line.startswith(f"- {row.model}: Head Impact ") and f"rho {row.rho:.2f}" in line
        shared = f"top-2 shares {row.among_first:.0f} of its 2 layers"
        assert line.endswith(f"{shared} with the first 2.")


def test_matched_layers_follow_the_layers_of_their_setup(finished):
    before, folder = copy.deepcopy(finished.config), "results/tiny/qwen2_vl"
    draws = {"layers": "matched", "to": "top-2", "draws": 2}
    files = [f"{folder}/matched-2/{draw}/layers.json" for draw in range(2)]
    finished.config["studies"]["tiny"]["setups"]["matched-2"] = draws
    try:
        finished.configure(finished.config)
        finished.run(*files)
        found = [json.loads((finished.folder / file).read_text()) for file in files]
    finally:
        finished.configure(before)
        shutil.rmtree(finished.folder / folder / "matched-2", ignore_errors=True)
    top = json.loads((finished.folder / folder / "top-2/0/layers.json").read_text())["layers"]
    assert found[0]["layers"] != found[1]["layers"]
    for record in found:
        assert all(abs(a - b) <= 2 for a, b in zip(record["layers"], top, strict=True))
        assert record["overlap"] == len({*record["layers"]} & {*top}) < 2


def test_two_seed_offsets_draw_other_scenes_splits_questions_and_layers(project, checkpoints):
    config = tiny(checkpoints, "qwen2_vl")
    for offset in (1000, 2000):
        config["studies"][f"moved-{offset}"] = config["studies"]["tiny"] | {"seed_offset": offset}
    workflow, names = project(config), list(config["studies"])
    files = ("questions.parquet", "qwen2_vl/random-2/0/layers.json")
    workflow.run(*(f"results/{name}/{file}" for name in names for file in files))
    folders = [workflow.folder / "results" / name for name in names]
    samples = [artifacts.read(path / "samples.parquet", "samples") for path in folders]
    assert pd.concat(samples)["sha256"].is_unique
    tests = [set(table.loc[table["split"] == "test", "file_name"]) for table in samples]
    questions = [
        artifacts.read(path / "questions.parquet", "questions")["answer"].tolist()
        for path in folders
    ]
    layers = [json.loads((path / files[1]).read_text())["layers"] for path in folders]
    for drawn in (tests, questions, layers):
        assert drawn[0] != drawn[1] != drawn[2] != drawn[0]


def test_an_adapter_has_a_card_that_names_its_base_layers_and_command(finished):
    folder = "results/tiny/qwen2_vl/top-2/default/0"
    card = (finished.folder / folder / "adapter/README.md").read_text()
    history = json.loads((finished.folder / folder / "history.json").read_text())
    assert f"base_model: {history['checkpoint']['checkpoint']}\n" in card
    assert f"| {', '.join(map(str, history['layers']))} |" in card
    assert "top, by the score head_impact" in card and "rank 8" in card
    assert f"snakemake --cores 4 {folder}/adapter" in card
    assert str(finished.folder) not in card.replace(history["checkpoint"]["checkpoint"], "")


def test_after_table_3_only_models_with_other_layers_are_trained_again(finished):
    """Averaging over images may change the chosen layers of a run; only then it trains again."""
    before, files = copy.deepcopy(finished.config), []
    for model in MINIATURES:
        files += sorted(finished.folder.glob(f"results/tiny/{model}/*/*/layers.json"))
    contents = [file.read_text() for file in files]
    try:
        finished.config["studies"]["tiny"]["scores"] = {"head_impact": {"average_over": "images"}}
        finished.configure(finished.config)
        assert "rule layers" in finished.run("results/tiny/table3.csv")
        changed = [file.read_text() != text for file, text in zip(files, contents, strict=True)]
        assert not all(changed[:RUNS])
        planned = finished.planned("results/table4.csv").get("finetune", 0)
        assert planned == sum(changed)
    finally:
        finished.configure(before)
        finished.run()


def test_without_shortcuts_and_in_shards_the_tables_are_the_same(finished, project, checkpoints):
    """With every shortcut off and two shards for each stage, the numbers stay the same."""
    config = tiny(checkpoints, "qwen2_vl", "paligemma2")
    names = ("one_pass", "kept_features", "frozen_layers", "few_logits")
    shards = {stage: {"shards": 2} for stage in ("attention", "annotator")}
    config["studies"]["tiny"].update(shards, shortcuts=dict.fromkeys(names, False))
    plain = project(config)
    plain.run("results/table4.csv", "results/tiny/table4_draws.csv", "results/table2.csv")
    for name in ("table4.csv", "tiny/table4_draws.csv", "table2.csv"):
        first = pd.read_csv(finished.folder / "results" / name)
        second = pd.read_csv(plain.folder / "results" / name)
        if "model" in first:
            first = first.set_index("model").loc[second["model"].unique()].reset_index()
        pd.testing.assert_frame_equal(first[second.columns], second, rtol=1e-3)


def test_a_job_imports_the_package_from_its_own_checkout(project, checkpoints):
    workflow = project(tiny(checkpoints, "qwen2_vl"))
    source = workflow.folder / "src/headimpact/dataset/scenes.py"
    source.write_text(f"raise ValueError('its own')\n{source.read_text()}")
    result = workflow.snakemake("--cores", "2", "results/tiny/dataset")
    assert result.returncode != 0 and "ValueError: its own" in result.stderr


def test_a_run_writes_the_provenance_of_its_study(finished):
    record = json.loads((finished.folder / "results/tiny/provenance.json").read_text())
    assert record["study"] == "tiny" and record["configuration"]["methods"]["lora"]["rank"] == 8
    assert record["seeds"]["training.seed"] == 0 and record["seeds"]["dataset.seed"] == 5
    assert {entry["checkpoint"].rsplit("/")[-1] for entry in record["checkpoints"]} == set(
        MINIATURES
    )
    assert all(entry["identity"] for entry in record["checkpoints"])
    assert any(entry.get("device") == "cpu" for entry in record["checkpoints"])
    assert record["versions"]["torch"] == torch.__version__ and record["machines"]["python"]
    assert record["data"]["images"] == 24 and len(record["data"]["sha256"]) == 64
    table = finished.folder / "results/tiny/table4.csv"
    assert record["files"]["table4.csv"] == hashlib.sha256(table.read_bytes()).hexdigest()
    jobs = {
        "scenes",
        "images",
        "samples",
        "qwen2_vl.finetune.random-2.default.1",
        "table4",
        "figure2",
    }
    assert jobs <= record["rules"].keys()
    trained = record["rules"]["qwen2_vl.finetune.random-2.default.1"]
    assert trained["seconds"] > 0 and trained["peak_mb"] > 100
    assert record["damaged"] == {}


def test_a_run_writes_provenance_only_for_its_own_studies(finished):
    """The provenance of another study describes an earlier config.yaml, and stays."""
    path = finished.folder / "results/other/provenance.json"
    before = path.read_bytes()
    finished.run("results/tiny/table2.csv", "--forcerun", "table2")
    assert path.read_bytes() == before


def test_a_user_s_table_of_objects_replaces_the_annotated_objects(project, checkpoints):
    """pandas wrote the table, without our metadata and checksums."""
    workflow, target = project(tiny(checkpoints, "qwen2_vl")), "results/tiny/objects.parquet"
    workflow.run(target)
    objects = pd.read_parquet(workflow.folder / target)
    samples = pd.read_parquet(workflow.folder / "results/tiny/samples.parquet")
    impact = objects["sample_id"].isin(samples.query("split == 'impact'")["sample_id"])
    own = objects[~impact | ~objects["sample_id"].duplicated()].assign(description="a thing")
    own = own.iloc[1:]  # an image without any object
    assert len(own) < len(objects)
    own.to_parquet(workflow.folder / target)
    workflow.run("results/tiny/qwen2_vl/attention/0.parquet")
    attention = artifacts.read(
        workflow.folder / "results/tiny/qwen2_vl/attention/0.parquet", "attention"
    )
    assert set(attention["object_id"]) < set(objects[impact]["object_id"])
    assert pd.read_parquet(workflow.folder / target)["description"].eq("a thing").all()

"""A score, a metric and a family, added as the pages for it say: a file and a line each."""

import json
import re
from pathlib import Path

import pandas as pd
import pytest
import tiny_families
from projects import tiny
from transformers import Qwen3VLMoeConfig, Qwen3VLMoeForConditionalGeneration

from headimpact import artifacts
from headimpact.miniature.checkpoints import save

PAGES = "".join(
    (Path(__file__).parents[2] / page).read_text(encoding="utf-8")
    for page in ("CONTRIBUTING.md", "docs/models.md")
)
EXAMPLE = re.compile(
    r"`(src/headimpact/\S+\.py)`:\n\n```python\n(.*?)```\n\nIn `(\w+)\.py`, table `(\w+)`:\n\n"
    r"```python\n(.*?)```",
    re.S,
)
# a score of whole layers that runs the model
WEIGHT_NORM = """
import numpy as np

from headimpact.scores.inputs import ScoreInputs, Scores


def weight_norm(inputs: ScoreInputs) -> Scores:
    decoder = inputs.model.get_submodule(inputs.family.decoder)
    assert inputs.images.image(inputs.samples["file_name"].iloc[0])
    norms = [layer.self_attn.q_proj.weight.norm().item() for layer in decoder.layers]
    return Scores(np.array(norms))
"""
ENTRY = (
    '"weight_norm": ScoreEntry("scores.weight_norm:weight_norm", needs=("model",), per="layer"),'
)


@pytest.fixture(scope="module")
def mixture(tmp_path_factory):
    """A small random checkpoint of a class that no family of the package reads."""
    folder = tmp_path_factory.mktemp("mixture")
    model, family = tiny_families.make("qwen3_vl")
    parts = model.config.to_dict()
    experts = {"num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 48}
    parts["text_config"] |= {"model_type": "qwen3_vl_moe_text", **experts}
    parts["vision_config"] |= {"model_type": "qwen3_vl_moe_vision"}
    config = Qwen3VLMoeConfig(**{**parts, "model_type": "qwen3_vl_moe"})
    save(folder, Qwen3VLMoeForConditionalGeneration(config), family)
    return folder


@pytest.fixture(scope="module")
def extended(project, checkpoints, mixture):
    """A finished study, to which all examples of these pages have been added since."""
    made = project(tiny(checkpoints, "qwen2_vl"))
    made.run()
    examples = EXAMPLE.findall(PAGES)
    path = "src/headimpact/scores/weight_norm.py"
    examples.append((path, WEIGHT_NORM, "score_registry", "SCORES", ENTRY + "\n"))
    tables = [table for *_, table, _ in examples]
    assert tables == ["SCORES", "METRICS", "FAMILIES", "SCORES"]
    for path, content, module, table, line in examples:
        (made.folder / path).write_text(content)
        registry = made.folder / f"src/headimpact/{module}.py"
        text = registry.read_text()
        assert text.count(f"\n{table} = {{\n") == 1
        registry.write_text(text.replace(f"\n{table} = {{\n", f"\n{table} = {{\n{line}"))
    return made


def test_nothing_reruns_for_them_until_a_study_names_them(extended):
    assert extended.planned() == {}


def test_a_score_and_a_metric_run_alone_and_a_family_reads_its_checkpoint(extended, mixture):
    study = extended.config["studies"]["tiny"]
    study["scores"] = {"head_impact": {}, "background_mass": {}, "weight_norm": {}}
    study["setups"]["heavy-2"] = {"layers": "top", "count": 2, "by": "weight_norm"}
    study["setups"]["background-2"] = {"layers": "bottom", "count": 2, "by": "background_mass"}
    study["metrics"] = {"accuracy": {}, "confidence": {}}
    extended.configure(extended.config)
    planned = extended.planned("results/tiny/table4.csv")
    assert planned == {"score": 2, "layers": 2, "finetune": 2, "evaluate": 2, "table4": 1}
    study = extended.config["studies"]["tiny"]
    study["models"]["mixture"] = {"title": "MIXTURE", "checkpoint": str(mixture)}
    extended.configure(extended.config)
    extended.run("results/tiny/table4.csv", "results/tiny/table3.csv")
    table = pd.read_csv(extended.folder / "results/tiny/table4.csv")
    assert table[["model", "metric"]].to_numpy().tolist() == [
        [model, metric]
        for model in ("QWEN2_VL", "MIXTURE")
        for metric in ("Accuracy", "Confidence")
    ]
    assert table.notna().all().all() and table["background-2"].between(0, 1).all()
    scores = artifacts.read(
        extended.folder / "results/tiny/qwen2_vl/scores/background_mass.parquet", "scores"
    )
    # lower is better: the bottom layers are those that look at the background most
    means = scores.groupby("layer")["value"].mean().sort_values()
    layers = pd.read_csv(extended.folder / "results/tiny/table3.csv", dtype=str)
    (row,) = layers.query("model == 'QWEN2_VL' and setup == 'background-2'")["layers"]
    assert sorted(map(int, row.split(", "))) == sorted(means.index[-2:])
    norms = artifacts.read(
        extended.folder / "results/tiny/qwen2_vl/scores/weight_norm.parquet", "scores"
    )
    assert norms["head"].isna().all() and norms["standard_error"].isna().all()
    heaviest = norms.sort_values("value")["layer"][-2:]
    chosen = json.loads(
        (extended.folder / "results/tiny/qwen2_vl/heavy-2/0/layers.json").read_text()
    )
    assert chosen["layers"] == sorted(heaviest) and chosen["by"] == "weight_norm"

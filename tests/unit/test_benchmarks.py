"""The fast ways give the same results as the plain ways of benchmarks/plain.py."""

import math
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch

from benchmarks import head_impact, interventions, plain, setups
from benchmarks import study as study_benchmark
from benchmarks.config import STUDIES
from benchmarks.models import MODELS, build, build_family
from benchmarks.pictures import draw
from benchmarks.study import count_runs
from headimpact.study.keys import TrainingChanges

ARGUMENTS = {"scale": "miniature", "device": "cpu", "dtype": "float32"}


@pytest.mark.parametrize("title", MODELS)
def test_all_setups_of_a_model_equal_the_plain_way(title, tmp_path):
    """Losses of the training, epoch by epoch, and of every test item: 1e-4 relative in float32."""
    arguments = SimpleNamespace(**ARGUMENTS, train=12, test=4, epochs=2)
    trial = setups.Trial(title, arguments, tmp_path / "trial")
    trial.layers = {name: trial.layers[name] for name in ("original", "top-4", "full")}
    results = setups.fast(trial, tmp_path / "fast")
    plain_results = setups.from_pixels(trial, tmp_path / "plain")
    assert setups.largest_difference(results, plain_results) < 1e-4
    (losses, answers), (_, plain_answers) = results, plain_results
    assert len(answers) == 12 and losses.keys() == {"top-4", "full"}
    answer_to = {(row["run"], row["object_id"]): row for row in answers}
    for plain_row in plain_answers:
        row = answer_to[plain_row["run"], plain_row["object_id"]]
        for label in "ABCD":
            probability = math.exp(row[f"log_{label}"])
            expected = math.exp(plain_row[f"log_{label}"])
            assert probability == pytest.approx(expected, rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("title", MODELS)
def test_head_impact_equals_the_plain_way(title, tmp_path):
    images, samples, objects, _ = draw("miniature", impact=4)
    model, family = build(title, "miniature", tmp_path, "cpu", "float32")
    inputs = (model, family, images, samples, objects)
    sizes = objects.merge(samples, on="sample_id")
    tokens = [family.grid(row.width, row.height).tokens for row in sizes.itertuples()]
    packed, plain_packed = head_impact.fast(*inputs), list(plain.attended_tokens(*inputs))
    # attention that equals the mean but for rounding may fall on either side of it
    assert head_impact.share_that_differs(tokens, packed, plain_packed) < 1e-4
    assert head_impact.share_that_differs(tokens, packed, packed[::-1]) > 1e-2


def test_interventions_equal_separate_passes(tmp_path):
    """Where all image reads are behind the image, and it does not see the prompt."""
    model, family = build("Qwen2-VL", "miniature", tmp_path, "cpu", "float32")
    image = interventions.first_image("miniature", model, family)
    chosen = interventions.random_interventions(family, 3)
    for sequence in interventions.conversations(family, image).values():
        inputs = (model, family, image, sequence, chosen)
        fast, separate = interventions.together(*inputs), interventions.separate(*inputs)
        for logs, expected in zip(fast, separate, strict=True):
            torch.testing.assert_close(logs, expected, atol=1e-4, rtol=0)
        assert (fast[0] - fast[1]).abs().max() > 1e-2


@pytest.mark.parametrize("title", MODELS)
@pytest.mark.parametrize("scale", ["full", "eighth", "small"])
def test_scales_have_the_real_number_of_image_tokens(title, scale, tmp_path):
    family = build_family(title, scale, tmp_path)
    tokens = {"PaliGemma2": 1024, "Qwen2-VL": 391, "SmolVLM": 1053}
    assert family.grid(640, 480).tokens == tokens[title]


def test_full_size_takes_the_papers_layers(monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    assert setups.layers_of_runs("SmolVLM", "full", 24)["top-4"] == [0, 15, 16, 18]


def test_every_run_of_a_study_is_counted_once():
    study = STUDIES["paper_controls"]
    counted = [(run.setup, number) for run, number in count_runs(study)]
    # three rates cost the same
    assert counted == [("original", 1), ("top-4", 9), ("matched-4", 9), ("random-4", 30)]
    longer = study.model_copy(update={"variants": {"long": TrainingChanges(epochs=9)}})
    counted = count_runs(longer)
    assert [(run.path, number) for run, number in counted[1:3]] == [
        *(("top-4/default/0", 3), ("top-4/long/0", 3))
    ]
    assert sum(number for _, number in counted) == len(longer.runs())


def test_matched_layers_follow_those_of_their_setup(monkeypatch):
    monkeypatch.chdir(Path(__file__).parents[2])
    study = STUDIES["paper_controls"]
    top, matched = (
        setups.choose_layers(study, setup, 0, "SmolVLM", "full", 24)
        for setup in ("top-4", "matched-4")
    )
    assert top == [0, 15, 16, 18] != matched
    assert all(abs(a - b) <= 2 for a, b in zip(top, matched, strict=True))


def test_the_cost_of_a_study_is_the_sum_over_its_jobs(monkeypatch, tmp_path, capsys):
    """Jobs that take 100 seconds on half of the images."""
    rules = [("attention", 1), ("finetune top-4/default", 9), ("evaluate top-4/default", 9)]
    measured = SimpleNamespace(seconds=100.0, peak=0)
    rows = [(rule, measured, number, 2.0) for rule, number in rules]
    monkeypatch.setattr(study_benchmark, "measure_rules", lambda *arguments: rows)
    written = []
    monkeypatch.setattr(study_benchmark, "append_row", lambda name, row: written.append(row))
    monkeypatch.setattr("sys.argv", ["study", "--study", "paper_controls", "--device", "cpu"])
    study_benchmark.main()
    assert [row["study_minutes"] for row in written] == ["3.3", "30.0", "30.0"] * 3
    hours = 3 * 200 * (1 + 9 + 9) / 3600
    assert (
        f"paper_controls, PaliGemma2, Qwen2-VL, SmolVLM: {hours:.1f} hours"
        in capsys.readouterr().out
    )


def test_the_runs_are_those_of_the_papers_study():
    layers = setups.layers_of_runs("PaliGemma2", "miniature", 24)
    random_runs = [f"random-4.{draw}" for draw in range(3)]
    assert list(layers) == ["original", "top-4", "bottom-4", *random_runs, "full"]
    assert layers["original"] == [] and layers["full"] == list(range(24))
    for name in random_runs:
        assert not {*layers[name]} & {*layers["top-4"], *layers["bottom-4"]}
    assert len({tuple(layers[name]) for name in random_runs}) == 3

"""The fast ways give what the plain ways of benchmarks give: transformers from pixels, all kept."""

from types import SimpleNamespace

import pytest

from benchmarks import head_impact, plain, setups
from benchmarks.models import MODELS, family_of
from benchmarks.pictures import draw

TOLD = {"scale": "miniature", "device": "cpu", "dtype": "float32"}


@pytest.mark.parametrize("title", MODELS)
def test_all_setups_of_a_model_equal_the_plain_ways(title, tmp_path):
    """Losses of the training, epoch by epoch, and of every test item: 1e-4 relative in float32."""
    told = SimpleNamespace(**TOLD, train=12, test=4, epochs=2)
    study = setups.Study(title, told, tmp_path / "study")
    study.runs = {name: study.runs[name] for name in ("original", "top-4", "full")}
    ours, plainly = (way(study, tmp_path / way.__name__) for way in (setups.ours, setups.plainly))
    assert setups.largest_difference(study, ours, plainly) < 1e-4
    assert len(ours[1]) == 12 and ours[0].keys() == {"top-4", "full"}
    right = {(row["setup"], row["object_id"]): row for row in ours[1]}
    ids = study.split["test"][1]["object_id"].tolist() * 3
    for number, row in zip(ids, plainly[1], strict=True):
        for label in "ABCD":
            told = right[row["setup"], number][f"p_{label}"]
            assert told == pytest.approx(row[label], rel=1e-3, abs=1e-6)


@pytest.mark.parametrize("title", MODELS)
def test_head_impact_equals_the_plain_way(title, tmp_path):
    folder, samples, objects, _ = draw("miniature", impact=4)
    model, family = head_impact.build(title, "miniature", tmp_path, "cpu", "float32")
    study = (model, family, folder, samples, objects)
    sizes = objects.merge(samples, on="sample_id")
    tokens = [family.grid(row.width, row.height).tokens for row in sizes.itertuples()]
    kept, plainly = head_impact.ours(*study), list(plain.attended(*study))
    # what lies at the mean may fall on either side of it
    assert head_impact.differing(tokens, kept, plainly) < 1e-4
    assert head_impact.differing(tokens, kept, kept[::-1]) > 1e-2


@pytest.mark.parametrize("title", MODELS)
@pytest.mark.parametrize("scale", ["full", "eighth", "small"])
def test_scales_have_the_real_number_of_visual_tokens(title, scale, tmp_path):
    family = family_of(title, scale, tmp_path)
    tokens = {"PaliGemma2": 1024, "Qwen2-VL": 391, "SmolVLM": 1053}
    assert family.grid(640, 480).tokens == tokens[title]

"""Head scores are computed from the tokens and attention of their own model."""

from types import SimpleNamespace

import pytest
from tables import ATTENTION

from headimpact import artifacts

TITLES = ["first", "second", "third"]


@pytest.fixture
def job(tmp_path):
    """A job whose inputs are the tokens and two shards of attention of three models.

    The object_id is the model's index in `tokens`, and the shard's index in `attention`.
    """
    grid = {"tiles": 1, "rows": 1, "columns": 1, "coverage": [1.0]}
    files = {"tokens": [], "attention": []}
    for number in range(6):
        rows = {
            "tokens": [{"object_id": number, **grid}],
            "attention": [{**ATTENTION, "object_id": number}],
        }
        for kind in files if number < 3 else ["attention"]:
            path = tmp_path / f"{kind}{number}.parquet"
            artifacts.write(path, kind, rows[kind])
            files[kind].append(path)
    return SimpleNamespace(
        input=files,
        params=SimpleNamespace(titles=TITLES),
        samples=lambda split: f"samples of {split}",
        objects=lambda: "objects",
    )


@pytest.mark.parametrize("number", range(3))
def test_each_of_several_models_has_its_own_tokens_and_shards(scripts, job, number):
    inputs = scripts("open_score_inputs").open_score_inputs(job, TITLES[number])
    assert inputs.tokens["object_id"].tolist() == [number]
    assert inputs.attention["object_id"].tolist() == [2 * number, 2 * number + 1]
    assert (inputs.samples, inputs.objects) == ("samples of impact", "objects")


def test_a_rule_of_one_model_has_all_shards(scripts, job):
    job.input["tokens"] = job.input["tokens"][0]
    inputs = scripts("open_score_inputs").open_score_inputs(job)
    assert inputs.tokens["object_id"].tolist() == [0]
    assert inputs.attention["object_id"].tolist() == list(range(6))


def test_a_rule_without_attention_has_the_objects_alone(scripts, job):
    job.input = {}
    inputs = scripts("open_score_inputs").open_score_inputs(job)
    assert inputs.objects == "objects"
    assert inputs.tokens is None and inputs.attention is None


def test_the_knockouts_of_all_shards_are_read(scripts, job, tmp_path):
    row = {"object_id": 0, "outcome": "description", "image_tokens": 0, "passes": 1.0}
    empty = dict.fromkeys(set(artifacts.columns("knockouts")) - set(row))
    paths = [tmp_path / f"{shard}.parquet" for shard in (0, 1)]
    for number, path in enumerate(paths):
        artifacts.write(path, "knockouts", [empty | row | {"object_id": number}])
    job.input = {"knockouts": paths}
    inputs = scripts("open_score_inputs").open_score_inputs(job)
    assert inputs.knockouts["object_id"].tolist() == [0, 1]

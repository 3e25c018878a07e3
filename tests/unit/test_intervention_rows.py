"""Items, their sets of heads, and what a model says once these heads read nothing of the image."""

from copy import deepcopy
from functools import partial

import numpy as np
import pandas as pd
import pytest
import torch

from headimpact import artifacts, score_registry, table_kinds
from headimpact.evaluation.evaluate import evaluate
from headimpact.guards import UserError
from headimpact.models import prompts
from headimpact.models.features import compute
from headimpact.models.interventions import Intervention, predict_under_interventions
from headimpact.scores.ablation import ablation
from headimpact.scores.attribution import attribution
from headimpact.scores.inputs import ScoreInputs
from headimpact.scores.intervention_design import ablated_heads, draw_items
from headimpact.scores.intervention_rows import intervention_rows
from headimpact.scores.interventions import read_heads

TEXTS = ["A dog", "a cat that smokes", "a cup", "a large blue tree"]
LABELS = [f"log_{label}" for label in table_kinds.LABELS]
BOTH = ["description", "question"]


@pytest.fixture
def study(photo):
    """Two items: the images' folder, samples, items and questions."""
    samples = pd.DataFrame(
        {"sample_id": [0, 1], "width": [72, 108], "height": [108, 72], "file_name": ["a", "b"]}
    )
    items = pd.DataFrame({"object_id": [8, 9], "sample_id": [0, 1], "description": TEXTS[:2]})
    options = {f"option_{x}": TEXTS[i:] + TEXTS[:i] for i, x in enumerate(table_kinds.LABELS)}
    options = {name: texts[:2] for name, texts in options.items()}
    questions = pd.DataFrame({"object_id": [8, 9], **options, "answer": ["A", "B"]})

    class Folder:
        def image(self, name):
            (sample,) = samples[samples["file_name"] == name].itertuples()
            return photo(sample.width, sample.height, seed=sample.sample_id)

    return Folder(), samples, items, questions


def rows_of(model, family, study, design, outcomes=BOTH, variant="zero", batch=64, **options):
    images, samples, items, questions = study
    draw = partial(ablated_heads, design=design, seed=3, **options)
    tables = intervention_rows(
        *(model, family, images, samples, items, questions, draw, design, variant, outcomes, batch)
    )
    return pd.concat(map(pd.DataFrame, tables), ignore_index=True)


def test_rows_without_an_intervention_are_the_models_answers(model_and_family, study, tmp_path):
    model, family = model_and_family
    rows = rows_of(model, family, study, "random", masks=2, keep=0.5)
    artifacts.write(tmp_path / "rows.parquet", "interventions", rows)
    images, samples, items, questions = study
    answers = pd.DataFrame(
        evaluate(model, family, compute(model, family, images, samples), items, questions, 8)
    )
    plain = rows[rows["design"] == "none"].reset_index(drop=True)
    assert not read_heads(plain).any() and (plain["kl"] == 0).all()
    columns = ["object_id", "tokens", "log_probability", *LABELS]
    pd.testing.assert_frame_equal(
        plain[columns], answers[columns], rtol=0, atol=1e-4, check_dtype=False
    )
    assert plain["answer"].tolist() == ["A", "B"]
    assert rows["design"].tolist() == ["none", "random", "random"] * 2


def test_a_row_is_what_the_model_says_without_its_heads(model_and_family, study):
    model, family = deepcopy(model_and_family[0]), model_and_family[1]
    with torch.no_grad():
        # eight times as large logits, so that a divergence differs from the reverse one
        model.get_submodule(family.decoder).norm.weight.add_(7)
    rows = rows_of(model, family, study, "random", variant="mean", masks=3, keep=0.5)
    images, samples, _, questions = study
    row = rows.iloc[6]  # the second set of the second item
    heads = read_heads(rows)[6]
    assert row["object_id"] == 9 and 0.3 < heads.mean() < 0.7
    ((sample, features),) = compute(model, family, images, samples.iloc[1:])
    image = family.encoded_image(sample, features)
    intervention = Intervention(torch.from_numpy(heads))
    nothing = Intervention(torch.zeros(heads.shape, dtype=torch.bool))

    def predict(sequence):
        return predict_under_interventions(
            model, family, image, sequence, [intervention, nothing], "mean"
        )

    sequence = prompts.description(family, image.grid, TEXTS[1])
    logs, plain = predict(sequence)
    target = torch.tensor(sequence.ids[sequence.start :])
    total = logs.gather(-1, target[:, None]).sum().item()
    assert row["log_probability"] == pytest.approx(total, abs=1e-3)
    divergence = torch.nn.functional.kl_div(logs, plain, reduction="sum", log_target=True)
    assert row["kl"] == pytest.approx(divergence.item() / len(target), rel=1e-4)
    options = [questions[f"option_{label}"][1] for label in table_kinds.LABELS]
    for label, sequence in zip(LABELS, prompts.choices(family, image.grid, options), strict=True):
        logs, _ = predict(sequence)
        assert row[label] == pytest.approx(logs[0, sequence.ids[-1]].item(), abs=1e-3)


def test_the_cost_is_that_of_the_tokens_that_the_decoder_computes(model_and_family, study):
    model, family = model_and_family
    images, samples, items, questions = study
    study = images, samples.iloc[:1], items.iloc[:1], questions
    decoder, computed = model.get_submodule(family.decoder), []

    def count(_decoder, _arguments, inputs):
        computed.append(inputs["inputs_embeds"].shape[1])

    hook = decoder.register_forward_pre_hook(count, with_kwargs=True)
    rows = rows_of(
        model, family, study, "random", outcomes=["description"], batch=4, masks=6, keep=0.5
    )
    hook.remove()
    assert len(computed) == 2  # seven branches, four at a time
    length = len(prompts.description(family, family.grid(72, 108), TEXTS[0]).ids) - 1
    assert rows["passes"].sum() == pytest.approx(sum(computed) / length)
    assert rows[[*LABELS, "answer"]].isna().all(axis=None) and rows["kl"].notna().all()


def test_a_question_alone_leaves_the_description_null(model_and_family, study):
    model, family = model_and_family
    rows = rows_of(model, family, study, "random", outcomes=["question"], masks=2, keep=0.5)
    assert rows[["log_probability", "tokens", "kl"]].isna().all(axis=None)
    assert rows[[*LABELS, "answer"]].notna().all(axis=None)


def test_a_planted_head_is_found_first_by_ablation_and_attribution(model_and_family, study):
    """Only one head writes anything into the residual stream, so it alone carries the image."""
    model, family = model_and_family
    images, samples, items, questions = study
    # what the head is worth differs between items, which coefficients of all items do not express
    study = images, samples.iloc[:1], items.iloc[:1], questions
    layer, head = 5, 2
    decoder = model.get_submodule(family.decoder)
    before = [each.self_attn.o_proj.weight.clone() for each in decoder.layers]
    size = before[0].shape[1] // family.heads
    with torch.no_grad():
        for number, each in enumerate(decoder.layers):
            planted = torch.zeros_like(before[number])
            if number == layer:
                columns = slice(head * size, (head + 1) * size)
                planted[:, columns] = 20 * before[number][:, columns]
            each.self_attn.o_proj.weight.copy_(planted)
    try:
        single = rows_of(model, family, study, "single")
        random = rows_of(model, family, study, "random", masks=100, keep=0.25)
    finally:
        with torch.no_grad():
            for each, weight in zip(decoder.layers, before, strict=True):
                each.self_attn.o_proj.weight.copy_(weight)
    for outcome in score_registry.EFFECTS:
        for score, rows in ((ablation, single), (attribution, random)):
            inputs = ScoreInputs(samples=None, objects=study[2], interventions=rows)
            size = np.abs(score(inputs, outcome).value)
            assert np.unravel_index(size.argmax(), size.shape) == (layer, head)
            others = np.delete(size.ravel(), size.argmax())
            assert size.max() > 0.01 and others.max() < size.max() / 100


def tables(images=30):
    """Three objects an image, in the splits impact and test."""
    samples = pd.DataFrame({"sample_id": range(images)})
    samples["split"] = np.where(samples["sample_id"] % 3 == 0, "test", "impact")
    objects = pd.DataFrame({"object_id": range(3 * images)})
    return samples, objects.assign(sample_id=objects["object_id"] // 3, description="a cup")


def test_items_are_one_object_of_each_image_of_the_split_impact():
    samples, objects = tables()
    items = draw_items(samples, objects, 0, 20, seed=4)
    assert items["sample_id"].is_unique and (items["sample_id"] % 3 != 0).all()
    assert len(set(items["object_id"] % 3)) == 3, "not always the first object"
    assert draw_items(samples, objects, 0, 20, seed=4).equals(items)
    assert not draw_items(samples, objects, 0, 20, seed=5).equals(items)


def test_fresh_items_are_of_other_images():
    samples, objects = tables()
    random = draw_items(samples, objects, 0, 12, seed=4)
    fresh = draw_items(samples, objects, 12, 8, seed=4)
    assert len(fresh) == 8 and not set(random["sample_id"]) & set(fresh["sample_id"])


def test_too_few_images_are_named():
    with pytest.raises(UserError, match="asks for 21 images of the split impact, which has 20"):
        draw_items(*tables(), 13, 8, seed=4)


def test_each_head_is_alone_in_the_single_design():
    heads = ablated_heads(1, 3, 4, "single", seed=0)
    assert heads.shape == (12, 3, 4) and (heads.sum((1, 2)) == 1).all() and heads.any(0).all()


def test_random_sets_keep_heads_with_their_probability_and_differ_between_items():
    draws = {
        (design, item): ablated_heads(item, 6, 8, design, seed=0, masks=100, keep=0.25)
        for design in ("random", "fresh")
        for item in (1, 2)
    }
    for heads in draws.values():
        assert (~heads).mean() == pytest.approx(0.25, abs=0.03)
        assert len(np.unique(heads.reshape(100, -1), axis=0)) == 100
    assert len({heads.tobytes() for heads in draws.values()}) == 4

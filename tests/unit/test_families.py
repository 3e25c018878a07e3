"""Each tiny family against full eager passes from pixels, with its model's own masks and positions.

A family is one module of tests/tiny_families, and gets all tests of the files test_family_*, too.
"""

import pytest
import torch
from painted import encode
from plain_pass import full_pass, intervened_pass, plain_inputs
from tiny_families import NAMES, make

from headimpact import registry
from headimpact.miniature.checkpoints import MAKERS, save
from headimpact.models import prompts
from headimpact.models.continuations import score_continuations
from headimpact.models.interventions import (
    Intervention,
    branch_tokens,
    predict_under_interventions,
)
from headimpact.models.load import load_family, load_model

SIZES = [(108, 72), (72, 108), (200, 145), (300, 90), (40, 40)]
DESCRIPTIONS = ("a small red circle", "a blue zebra that smokes", "a cat")
OPTIONS = ["a dog", "a cat", "a large pink moon", "no one"]


@pytest.fixture(params=["description", "question"])
def kind(request):
    return request.param


def conversation(family, grid, kind):
    if kind == "question":
        return prompts.choices(family, grid, OPTIONS)[2]
    return prompts.description(family, grid, DESCRIPTIONS[1])


def test_every_model_type_of_the_registry_has_a_tiny_family_or_a_miniature():
    read = {model_type for entry in registry.FAMILIES.values() for model_type in entry.model_types}
    miniatures = {make()[1].model_type for make in MAKERS.values()}
    assert {make(name)[1].model_type for name in NAMES} | miniatures == read


# ------------------------------------------------------------------ scores


@pytest.mark.parametrize("one_pass", [True, False])
@pytest.mark.parametrize("size", SIZES)
def test_scores_equal_full_eager_passes(tiny, photo, size, one_pass):
    model, families = tiny
    for family in families:
        image, grid = photo(*size), family.grid(*size)
        sequences = [prompts.description(family, grid, text) for text in DESCRIPTIONS]
        sequences += prompts.choices(family, grid, OPTIONS)
        encoded = encode(model, family, image)
        conversations = [(encoded, sequence) for sequence in sequences]
        scores = score_continuations(model, family, conversations, True, one_pass)
        for sequence, score in zip(sequences, scores, strict=True):
            logs, attention = full_pass(model, family, image, sequence)
            assert score.attention.shape == (family.layers, family.heads, grid.tokens)
            torch.testing.assert_close(score.log_probabilities, logs, atol=1e-4, rtol=0)
            torch.testing.assert_close(score.attention, attention, atol=1e-5, rtol=0)


def test_images_that_share_a_pass_equal_full_eager_passes(tiny, photo):
    model, (family, *_) = tiny
    images = [photo(108, 72, seed=1), photo(108, 72, seed=2), photo(72, 108, seed=3)]
    sequences = [prompts.description(family, family.grid(*i.size), "a cat") for i in images]
    conversations = [(encode(model, family, i), s) for i, s in zip(images, sequences, strict=True)]
    scores = score_continuations(model, family, conversations, attention=True)
    for image, sequence, score in zip(images, sequences, scores, strict=True):
        logs, attention = full_pass(model, family, image, sequence)
        torch.testing.assert_close(score.log_probabilities, logs, atol=1e-4, rtol=0)
        torch.testing.assert_close(score.attention, attention, atol=1e-5, rtol=0)
    (first, second, _) = (score.log_probabilities for score in scores)
    assert (first - second).abs().max() > 1e-2, "the image must change what the model predicts"


def test_a_saved_checkpoint_gives_the_same_scores(tiny, photo, tmp_path):
    model, (family, *_) = tiny
    save(tmp_path, model, family)
    image, results = photo(108, 72), []
    for each, its_family in ((model, family), (load_model(tmp_path), load_family(tmp_path))):
        assert type(its_family) is type(family)
        sequence = prompts.description(its_family, its_family.grid(*image.size), "a cat")
        encoded = encode(each, its_family, image)
        (score,) = score_continuations(each, its_family, [(encoded, sequence)], attention=True)
        results.append((sequence.ids, score.log_probabilities, score.attention))
    assert results[0][0] == results[1][0]
    torch.testing.assert_close(results[0][1:], results[1][1:], atol=1e-6, rtol=0)


# ------------------------------------------------------------------ interventions


@pytest.mark.parametrize("variant", ["renormalise", "zero", "mean"])
def test_interventions_equal_separate_passes_with_hooks(tiny, photo, kind, variant):
    model, (family, *_) = tiny
    image = photo(108, 72)
    encoded = encode(model, family, image)
    sequence = conversation(family, encoded.grid, kind)
    draw = torch.Generator().manual_seed(0)

    def choose(*size):
        return torch.rand(size, generator=draw) < 0.5

    heads = [choose(family.layers, family.heads) for _ in range(2)]
    # the second as a knockout: some of the text no longer reads some of the image
    rows = choose(len(branch_tokens(family, sequence)))
    interventions = [
        Intervention(heads[0]),
        Intervention(heads[1], rows, choose(encoded.grid.tokens)),
    ]
    no_intervention = Intervention(torch.zeros_like(heads[0]))
    plain, *predictions = predict_under_interventions(
        model, family, encoded, sequence, [no_intervention, *interventions], variant
    )
    (score,) = score_continuations(model, family, [(encoded, sequence)])
    target = torch.tensor(sequence.ids[sequence.start :])[:, None]
    torch.testing.assert_close(
        plain.gather(-1, target)[:, 0], score.log_probabilities, atol=1e-4, rtol=0
    )
    inputs = plain_inputs(family, image, sequence)
    for intervention, logs in zip(interventions, predictions, strict=True):
        expected = intervened_pass(model, family, sequence, inputs, intervention, variant)
        assert (logs - plain).abs().max() > 1e-3, "the intervention must change something"
        torch.testing.assert_close(logs, expected, atol=1e-4, rtol=0)

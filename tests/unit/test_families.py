"""Each tiny family against full eager passes from pixels, with its model's own masks and positions.

A family is one module of tests/tiny_families, and gets all tests of this file.
"""

from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from plain_pass import full_pass, intervened_pass, plain_inputs

from headimpact.miniature.checkpoints import save
from headimpact.models import prompts
from headimpact.models.continuations import score_continuations
from headimpact.models.family import EncodedImage, TokenGrid
from headimpact.models.interventions import (
    Intervention,
    branch_tokens,
    predict_under_interventions,
)
from headimpact.models.load import load_family, load_model
from headimpact.scores.coverage import coverage

SIZES = [(108, 72), (72, 108), (200, 145), (300, 90), (40, 40)]
DESCRIPTIONS = ("a small red circle", "a blue zebra that smokes", "a cat")
OPTIONS = ["a dog", "a cat", "a large pink moon", "no one"]


@pytest.fixture(params=["description", "question"])
def kind(request):
    return request.param


def encode(model, family, image):
    (features,) = family.features(model, family.pixels([image]))
    return EncodedImage(features, family.grid(*image.size))


def conversation(family, grid, kind):
    if kind == "question":
        return prompts.choices(family, grid, OPTIONS)[2]
    return prompts.description(family, grid, DESCRIPTIONS[1])


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


# ------------------------------------------------------------------ geometry

BOXES = [(0.1, 0.2, 0.6, 0.5), (0.5, 0.0, 1.0, 0.4), (0.0, 0.55, 0.45, 1.0), (0.7, 0.6, 0.9, 0.95)]


@pytest.fixture(scope="module")
def local(tiny):
    """The Families, and a model whose image features each depend on their own pixels alone."""
    model, families = tiny
    tower = model.get_encoder(modality="image")
    outputs = [
        module
        for name, module in tower.named_modules()
        if name.endswith(
            ("attn.proj", "attn.out_proj", "attn.o_proj", "attention.projection_layer")
        )
    ]
    before = [module.weight.data.clone() for module in outputs]
    assert len(outputs) == model.config.vision_config.num_hidden_layers
    for module in outputs:
        module.weight.data.zero_()
    yield model, families
    for module, weight in zip(outputs, before, strict=True):
        module.weight.data.copy_(weight)


def twice_as_wide(rectangles, size):
    """Rectangles about the same centres, cut at the edges of an image of that size."""
    half = (rectangles[:, 2:] - rectangles[:, :2]) / 2
    return (rectangles + np.concatenate([-half, half], 1)).clip(0, [*size, *size])


def contradictions(model, family, size, rectangles_of):
    """How many tokens change, or stay, against what coverage says of a painted rectangle.

    A token changes if it is covered by more than a half, and may change if the rectangle is less
    than half a token away: the filters that resize an image blur its edges.
    rectangles_of: from a TokenGrid to the rectangles that are tested.
    """
    rectangles = rectangles_of(family.grid(*size))
    noise = np.random.default_rng(3).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    before = encode(model, family, Image.fromarray(noise)).features
    count = 0
    for box in BOXES:
        x0, y0, x1, y1 = (round(e * side) for e, side in zip(box, size * 2, strict=True))
        image, mask = noise.copy(), np.zeros(noise.shape[:2], bool)
        image[y0:y1, x0:x1] = 255 - image[y0:y1, x0:x1]
        mask[y0:y1, x0:x1] = True
        after = encode(model, family, Image.fromarray(image)).features
        assert len(after) == len(rectangles)
        changes = ((after - before).abs().amax(-1) > 1e-4 * before.abs().max()).numpy()
        covered = coverage(mask, rectangles) > 0.5
        may_change = coverage(mask, twice_as_wide(rectangles, size)) > 1e-4
        count += (covered & ~changes).sum() + (changes & ~may_change).sum()
    return count


def of_tiles(change):
    """The rectangles of a TokenGrid with other tiles."""
    return lambda grid: TokenGrid(tuple(change(grid.tiles))).rectangles


def columns_before_rows(grid):
    order = [
        begin + np.arange(stop - begin).reshape(tile.rows, tile.columns).T.ravel()
        for (begin, stop), tile in zip(grid.spans, grid.tiles, strict=True)
    ]
    return grid.rectangles[np.concatenate(order)]


def in_the_middle(tiles):
    """Tiles whose grid is over the middle of their box, as if the rest of it were cut off."""
    for tile in tiles:
        x0, y0, x1, y1 = tile.box
        x, y = 0.2 * (x1 - x0), 0.2 * (y1 - y0)
        yield replace(tile, box=(x0 + x, y0 + y, x1 - x, y1 - y))


WRONG = {
    "columns before rows": columns_before_rows,
    "from right to left": lambda grid: grid.rectangles[::-1],
    "the last tile first": of_tiles(lambda tiles: (tiles[-1], *tiles[:-1])),
    "the middle of each tile": of_tiles(in_the_middle),
    "all tiles over the whole image": of_tiles(
        lambda tiles: [replace(tile, box=tiles[-1].box) for tile in tiles]
    ),
}


@pytest.mark.parametrize("size", SIZES[:4])
def test_tokens_that_a_painted_rectangle_changes_are_those_that_coverage_names(local, size):
    model, families = local
    for family in families:
        assert contradictions(model, family, size, lambda grid: grid.rectangles) == 0


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_grid_is_found_by_the_painted_rectangles(local, wrong):
    model, families = local
    for family in families:
        grid = family.grid(*SIZES[2])
        if len(grid.tiles) == 1 and "tile" in wrong and "middle" not in wrong:
            continue
        assert contradictions(model, family, SIZES[2], WRONG[wrong]) > 0

"""InternVL3: rows and columns of its tiles, the whole image behind them, and its output layer."""

import json

import pytest
import tiny_families
import torch
from painted import contradictions, local_features
from projects import ROOT

from headimpact.models.family import TokenGrid
from headimpact.models.load import count_parameters, load_untrained_model

((SETTINGS, _),) = tiny_families.MODULES["internvl"].PUBLISHED_IMAGES
PUBLISHED = ROOT / "resources/configurations/internvl3-1b-hf/config.json"
UNTIED = 938_193_024  # its parameters, as the hub counts them


@pytest.fixture(scope="module")
def tiny_internvl():
    return tiny_families.make("internvl")


@pytest.mark.parametrize(
    ("size", "columns", "rows"),
    [
        ((640, 480), 4, 3),
        ((480, 640), 3, 4),
        ((640, 640), 2, 2),
        ((427, 640), 2, 3),
        ((90, 90), 1, 1),
    ],
)
def test_tiles_are_row_after_row_with_the_whole_image_last(size, columns, rows):
    _, family = tiny_families.make("internvl", **SETTINGS)
    *tiles, last = family.grid(*size).tiles
    assert last.box == (0, 0, *size) and (last.rows, last.columns) == (16, 16)
    expected = [
        (c * size[0] / columns, r * size[1] / rows) for r in range(rows) for c in range(columns)
    ]
    # a single tile is the whole image
    assert [tile.box[:2] for tile in tiles] == (expected if len(expected) > 1 else [])


WRONG = {
    "the whole image first": lambda tiles: (tiles[-1], *tiles[:-1]),
    "columns before rows": lambda tiles: (*tiles[:-1:2], *tiles[1:-1:2], tiles[-1]),
}


@pytest.mark.parametrize("wrong", WRONG)
def test_tiles_in_another_order_are_found_by_the_painted_rectangles(tiny_internvl, wrong):
    model, family = tiny_internvl
    size = (72, 108)
    grid = family.grid(*size)
    assert len(grid.tiles) == 2 * 3 + 1
    with local_features(model):
        assert contradictions(model, family, size, grid.rectangles) == 0
        wrong_grid = TokenGrid(WRONG[wrong](grid.tiles))
        assert contradictions(model, family, size, wrong_grid.rectangles) > 5


def test_features_are_one_tensor_an_image_whatever_its_tiles(tiny_internvl, photo):
    model, family = tiny_internvl
    images = [photo(*size, seed=n) for n, size in enumerate([(108, 72), (40, 40), (300, 90)])]
    together = family.features(model, family.pixels(images))
    for image, features in zip(images, together, strict=True):
        (alone,) = family.features(model, family.pixels([image]))
        assert len(alone) == family.grid(*image.size).tokens
        torch.testing.assert_close(features, alone, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("whole", "decoder", "tied"),
    [(None, None, False), (None, True, True), (False, True, False), (True, False, True)],
)
def test_the_output_layer_is_counted_as_the_configuration_says(tmp_path, whole, decoder, tied):
    configuration = json.loads(PUBLISHED.read_text())
    for part, value in ((configuration, whole), (configuration["text_config"], decoder)):
        part.pop("tie_word_embeddings", None)
        if value is not None:
            part["tie_word_embeddings"] = value
    (tmp_path / "config.json").write_text(json.dumps(configuration))
    _, counts = count_parameters(tmp_path)
    text = configuration["text_config"]
    assert UNTIED - counts["parameters"] == tied * text["hidden_size"] * text["vocab_size"]


def test_an_untrained_model_has_an_output_layer_of_its_own_as_the_trained_has(tmp_path):
    _, family = tiny_families.make("internvl")
    configuration = family.config.to_dict()
    del configuration["tie_word_embeddings"]
    (tmp_path / "config.json").write_text(json.dumps(configuration))
    model = load_untrained_model(tmp_path, seed=0)
    assert not torch.equal(model.lm_head.weight, model.get_input_embeddings().weight)

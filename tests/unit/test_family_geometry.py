"""Geometry of each tiny family: the tokens that a painted rectangle changes are those it covers."""

from dataclasses import replace

import numpy as np
import pytest
import tiny_families
from painted import BOXES, contradictions, local_features

from headimpact.models.family import TokenGrid

SIZES = [(108, 72), (72, 108), (200, 145), (300, 90)]
PHOTOGRAPHS = [(640, 480), (640, 640), (200, 145), (427, 640)]


@pytest.fixture(scope="module")
def local(tiny):
    """A model with local features, and its Families."""
    with local_features(tiny[0]):
        yield tiny


def of_tiles(grid, change):
    """The rectangles of a TokenGrid with other tiles."""
    return TokenGrid(tuple(change(grid.tiles))).rectangles


def columns_before_rows(grid, _size):
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
    "backwards": lambda grid, _size: grid.rectangles[::-1],
    "the last tile first": lambda grid, _size: of_tiles(grid, lambda t: (t[-1], *t[:-1])),
    "the middle of each tile": lambda grid, _size: of_tiles(grid, in_the_middle),
    "each tile over the whole image": lambda grid, size: of_tiles(
        grid, lambda tiles: [replace(tile, box=(0, 0, *size)) for tile in tiles]
    ),
}


@pytest.mark.parametrize("size", SIZES)
def test_tokens_that_a_painted_rectangle_changes_are_those_that_coverage_names(local, size):
    model, families = local
    for family in families:
        assert contradictions(model, family, size, family.grid(*size).rectangles) == 0


@pytest.mark.parametrize("wrong", WRONG)
def test_a_wrong_grid_is_found_by_the_painted_rectangles(local, wrong):
    model, families = local
    size = SIZES[2]
    for family in families:
        grid = family.grid(*size)
        rectangles = WRONG[wrong](grid, size)
        # a single tile is the first and the last, and may cover the whole image
        if not np.array_equal(rectangles, grid.rectangles):
            assert contradictions(model, family, size, rectangles) > 0


@pytest.mark.parametrize(("name", "settings", "tokens"), tiny_families.PUBLISHED_IMAGES)
def test_published_image_settings_give_the_tokens_of_photographs(name, settings, tokens):
    """The published sizes of patches and tiles, in a model of tiny layers."""
    model, family = tiny_families.make(name, **settings)
    grids = [family.grid(*size) for size in PHOTOGRAPHS]
    assert [grid.tokens for grid in grids] == tokens
    assert [family.placeholder(grid).count(family.image_text) for grid in grids] == tokens
    with local_features(model):
        size, grid = PHOTOGRAPHS[-1], grids[-1]
        assert contradictions(model, family, size, grid.rectangles, BOXES[:1]) == 0

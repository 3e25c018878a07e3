"""Columns of the attention table by hand, and against full eager passes of the models."""

import numpy as np
import pandas as pd
import pytest
import torch
from plain_pass import full_pass
from tables import ATTENTION, assert_refused

from headimpact.dataset.masks import encode
from headimpact.models import prompts
from headimpact.models.family import Tile, TokenGrid
from headimpact.scores.attention import head_columns, measure_attention
from headimpact.scores.components import component_entropy
from headimpact.scores.coverage import coverage

TILES, ROWS, COLUMNS = 2, 3, 4
TOKENS = TILES * ROWS * COLUMNS
GRID = TokenGrid((Tile(ROWS, COLUMNS, (0, 0, 4, 3)), Tile(ROWS, COLUMNS, (0, 0, 4, 3))))


def entropy_by_flood_fill(excess, tiles, rows, columns):
    """One component after another, token by token."""
    places = {
        (t, r, c): excess[(t * rows + r) * columns + c]
        for t in range(tiles)
        for r in range(rows)
        for c in range(columns)
    }
    open_places, sums = {p for p, value in places.items() if value > 0}, []
    if not open_places:
        return np.log(len(excess))
    while open_places:
        border, total = [open_places.pop()], 0.0
        while border:
            tile, row, column = border.pop()
            total += places[tile, row, column]
            near = {(tile, row + i, column + j) for i in (-1, 0, 1) for j in (-1, 0, 1)}
            border += near & open_places
            open_places -= near
        sums.append(total)
    shares = np.array(sums) / sum(sums)
    return -(shares * np.log(shares)).sum()


@pytest.mark.parametrize("grid", [(1, 5, 7), (3, 4, 4), (4, 1, 6), (2, 6, 1)])
def test_spatial_entropy_equals_a_flood_fill_of_each_component(grid):
    rng = np.random.default_rng(3)
    attention = rng.random((60, np.prod(grid))) ** rng.choice([0.5, 2, 8], (60, 1))
    excess = attention - attention.mean(1, keepdims=True)
    excess[0] = 0
    expected = [entropy_by_flood_fill(row, *grid) for row in excess]
    assert component_entropy(excess, grid) == pytest.approx(expected)


def test_diagonal_neighbours_are_one_component_and_tiles_are_apart():
    excess = np.full((4, TILES, ROWS, COLUMNS), -1.0)
    excess[0, 0, 1, 1] = excess[0, 0, 2, 2] = 0.5  # diagonal
    excess[1, 0, 2, 1] = excess[1, 1, 0, 1] = 0.5  # last row of a tile, first row of the next
    excess[2, 0, 0, 3] = excess[2, 0, 1, 0] = 0.5  # end of a row, start of the next
    excess[3, 0, 0, 0], excess[3, 1, 2, 3] = 3, 1
    values = component_entropy(excess.reshape(4, -1), (TILES, ROWS, COLUMNS))
    unequal = -0.75 * np.log(0.75) - 0.25 * np.log(0.25)
    assert values == pytest.approx([0, np.log(2), np.log(2), unequal])


def test_columns_of_hand_made_attention():
    attention = torch.zeros(1, 3, TOKENS)
    attention[0, 0, [1, 6]] = torch.tensor([0.25, 0.5])  # diagonal neighbours of tile 0
    attention[0, 1, [3, 11, 12]] = torch.tensor([0.125, 0.25, 0.25])  # three places, a tie
    attention[0, 2] = 1 / 64  # equal everywhere
    covered = np.zeros(TOKENS, np.float32)
    covered[[1, 12]] = 0.5, 0.25
    columns = head_columns(attention, covered, GRID)
    assert columns["image_mass"].tolist() == [0.75, 0.625, TOKENS / 64]
    assert columns["object_mass"].tolist() == [0.125, 0.0625, 0.75 / 64]
    assert columns["top_token"].tolist() == [6, 11, 0]  # the first of equal ones
    excess = np.array([0.125, 0.25, 0.25]) - 0.625 / TOKENS
    shares = excess / excess.sum()
    expected = [0, -(shares * np.log(shares)).sum(), np.log(TOKENS)]
    assert columns["spatial_entropy"] == pytest.approx(expected)
    bits = np.unpackbits(np.frombuffer(b"".join(columns["attended"]), np.uint8)).reshape(3, -1)
    assert [np.flatnonzero(row).tolist() for row in bits] == [[1, 6], [3, 11, 12], []]


def test_columns_equal_those_of_full_eager_passes(model_and_family, photo):
    model, family = model_and_family
    size, texts = (108, 72), ["a small red circle", "a dog"]
    masks = [np.zeros((72, 108), bool) for _ in texts]
    masks[0][5:50, 10:60] = True
    masks[1][:, :7] = True
    samples = pd.DataFrame([{"sample_id": 0, "file_name": "x", "width": 108, "height": 72}])
    objects = pd.DataFrame({"sample_id": 0, "object_id": [4, 9], "description": texts})
    objects["mask"] = [encode(mask) for mask in masks]
    folder = type("Folder", (), {"image": lambda self, name: photo(*size)})()
    (table,) = measure_attention(model, family, folder, samples, objects, batch=1)
    grid, expected = family.grid(*size), {"image_mass": [], "object_mass": [], "entropy": []}
    tile, tops = grid.tiles[0], []
    for mask, text in zip(masks, texts, strict=True):
        sequence = prompts.description(family, grid, text)
        _, attention = full_pass(model, family, photo(*size), sequence)
        covered = coverage(mask, grid.rectangles)
        for row in attention.flatten(0, 1).double().numpy():
            excess = row - row.mean()
            expected["image_mass"].append(row.sum())
            expected["object_mass"].append((row * covered).sum())
            shape = len(grid.tiles), tile.rows, tile.columns
            expected["entropy"].append(entropy_by_flood_fill(excess, *shape))
            tops.append(row)
    assert table["object_id"].tolist() == np.repeat([4, 9], len(tops) // 2).tolist()
    assert table["image_mass"] == pytest.approx(expected["image_mass"], abs=1e-5)
    assert table["object_mass"] == pytest.approx(expected["object_mass"], abs=1e-5)
    # a token that lies at the mean may join or part two components
    close = np.isclose(table["spatial_entropy"], expected["entropy"], atol=1e-3)
    assert close.mean() > 0.95
    # the token with most attention, up to rounding
    chosen = [row[token] for row, token in zip(tops, table["top_token"], strict=True)]
    assert chosen == pytest.approx([row.max() for row in tops], abs=1e-6)


@pytest.mark.parametrize("column", ["image_mass", "object_mass", "top_token", "spatial_entropy"])
def test_an_older_table_without_a_column_is_refused(tmp_path, column):
    pd.DataFrame([ATTENTION]).drop(columns=column).to_parquet(tmp_path / "old.parquet")
    message = f"column {column} is missing in this table of attention; add it, or delete the file"
    assert_refused(tmp_path / "old.parquet", "attention", message)

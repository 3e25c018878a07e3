"""Scores from the attention pass: their columns by hand, and planted heads that they find."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch
from plain_pass import full_pass
from tables import ATTENTION, assert_refused

from headimpact import registry
from headimpact.dataset.masks import encode
from headimpact.guards import UserError
from headimpact.models import prompts
from headimpact.models.family import Tile, TokenGrid
from headimpact.scores.attention import head_columns, measure_attention
from headimpact.scores.components import component_entropy
from headimpact.scores.coverage import coverage
from headimpact.scores.inputs import ScoreInputs, Scores, scores_table
from headimpact.scores.iou import random_iou
from headimpact.scores.recovery import recovery

TILES, ROWS, COLUMNS, LAYERS, HEADS = 2, 3, 4, 3, 2
TOKENS = TILES * ROWS * COLUMNS
GRID = TokenGrid((Tile(ROWS, COLUMNS, (0, 0, 4, 3)), Tile(ROWS, COLUMNS, (0, 0, 4, 3))))
IMAGES = [7, 7, 8, 9]  # of objects 0 to 3; object 3 covers no token by half
NEW = (
    *("image_mass", "object_mass", "pointing", "spatial_entropy", "attended_share"),
    "weighted_head_impact",
)


def make_inputs(attention=None, seed=0):
    """Tables of four objects, in an order that is not that of their ids.

    attention: float (objects, layers, heads, tokens); random if None. Returns it, too.
    """
    rng = np.random.default_rng(seed)
    covered = (rng.random((4, TOKENS)) * (rng.random((4, TOKENS)) < 0.5)).astype(np.float32)
    covered[:3, 0], covered[3] = 0.75, covered[3] / 3
    if attention is None:
        attention = rng.dirichlet(np.full(TOKENS + 5, 0.3), (4, LAYERS, HEADS))[..., :TOKENS]
    attention = torch.tensor(np.asarray(attention), dtype=torch.float32)
    layers, heads = np.indices((LAYERS, HEADS)).reshape(2, -1)
    order = [2, 0, 3, 1]
    tables = [
        pd.DataFrame({"object_id": x, "layer": layers, "head": heads})
        .join(pd.DataFrame(head_columns(attention[x], covered[x], GRID)))
        .sample(frac=1, random_state=seed)
        for x in order
    ]
    grid = {"tiles": TILES, "rows": ROWS, "columns": COLUMNS}
    tokens = pd.DataFrame({"object_id": order, **grid, "coverage": list(covered[order])})
    objects = pd.DataFrame({"object_id": range(5), "sample_id": [*IMAGES, 10]})
    inputs = ScoreInputs(None, objects, tokens=tokens, attention=pd.concat(tables))
    return inputs, attention.double().numpy(), covered


def score_of(name, inputs, **changes):
    entry = registry.SCORES[name]
    return entry.load()(inputs, **registry.options(entry.options, changes))


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


def test_masses_entropy_and_shares_are_means_over_all_objects():
    inputs, attention, covered = make_inputs()
    mass = attention.sum(-1)
    on_object = (attention * covered[:, None, None]).sum(-1)
    share = (attention > attention.mean(-1, keepdims=True)).mean(-1)
    expected = {"image_mass": mass, "object_mass": on_object, "attended_share": share}
    for name, items in expected.items():
        scores = score_of(name, inputs)
        assert (scores.n, scores.images.tolist()) == (4, IMAGES)
        assert scores.items == pytest.approx(items, abs=1e-6)
        of_images = score_of(name, inputs, average_over="images")
        assert of_images.n == 3
        by_image = [items[:2].mean(0), items[2], items[3]]
        assert of_images.value == pytest.approx(np.mean(by_image, axis=0), abs=1e-6)
    null = (mass * covered.mean(1)[:, None, None]).mean(0)
    assert score_of("object_mass", inputs).null == pytest.approx(null, abs=1e-6)
    entropy = inputs.attention.groupby(["layer", "head"])["spatial_entropy"].mean()
    assert score_of("spatial_entropy", inputs).value.ravel() == pytest.approx(entropy.to_numpy())


def test_mass_on_the_object_depends_on_no_threshold():
    inputs, *_ = make_inputs()
    before = score_of("object_mass", inputs)
    assert not {"mask_share", "rings"} & set(registry.SCORES["object_mass"].options)
    inputs.attention["attended"] = bytes(TOKENS // 8)  # whatever lies above a threshold
    assert (score_of("object_mass", inputs).items == before.items).all()
    # Head Impact leaves out object 3, which covers no token by half
    assert score_of("head_impact", inputs).n == 3 and before.n == 4


@pytest.mark.parametrize("mask_share", [0, 0.5])
def test_pointing_counts_top_tokens_on_the_object(mask_share):
    inputs, attention, covered = make_inputs()
    masks = covered >= mask_share if mask_share else covered > 0
    counted = masks.any(1)
    assert counted.tolist() == [True, True, True, mask_share == 0]
    hits = [[m[row.argmax(-1)] for row in a] for a, m in zip(attention, masks, strict=True)]
    scores = score_of("pointing", inputs, mask_share=mask_share)
    assert (scores.items == np.array(hits)[counted]).all() and 0 < scores.value.mean() < 1
    assert scores.null == pytest.approx(np.full((LAYERS, HEADS), masks[counted].mean()))


def test_weighted_head_impact_is_iou_times_mass():
    inputs, attention, covered = make_inputs()
    scores = score_of("weighted_head_impact", inputs)
    above = attention > attention.mean(-1, keepdims=True)
    assert scores.n == 3
    for x, layer, head in np.ndindex(3, LAYERS, HEADS):
        mask, bits = covered[x] >= 0.5, above[x, layer, head]
        mass = attention[x, layer, head].sum()
        iou = (bits & mask).sum() / (bits | mask).sum()
        assert scores.items[x, layer, head] == pytest.approx(iou * mass, abs=1e-6)
    chance = [
        random_iou(above[x].sum(-1), (covered[x] >= 0.5).sum(), TOKENS) * attention[x].sum(-1)
        for x in range(3)
    ]
    assert scores.null == pytest.approx(np.mean(chance, axis=0), abs=1e-6)
    # with all attention on the image it is Head Impact
    inputs.attention["image_mass"] = 1.0
    impact = score_of("head_impact", inputs)
    scores = score_of("weighted_head_impact", inputs)
    assert (scores.items == impact.items).all() and (scores.null == impact.null).all()


@pytest.mark.parametrize("name", NEW)
def test_a_planted_head_is_found(name):
    """It gives the object nearly all of its attention, the others scatter a tenth of it."""
    _, attention, _ = make_inputs(seed=2)
    planted = np.zeros((LAYERS, HEADS), bool)
    planted[1, 0] = True
    attention = attention / attention.sum(-1, keepdims=True) / 10
    attention[:, 1, 0] = 0.001
    attention[:, 1, 0, 0] = 0.9  # covered by objects 0 to 2
    inputs, *_ = make_inputs(attention, seed=2)
    scores = score_of(name, inputs)
    (row,) = (
        recovery(scores, planted, registry.SCORES[name].higher_is_better)
        .query("unit == 'head'")
        .itertuples()
    )
    assert row.found == row.area == 1


@pytest.mark.parametrize("name", ["head_impact", "specific_head_impact", *NEW])
def test_the_cost_is_a_pass_for_each_image_with_attention(name):
    inputs, *_ = make_inputs()
    inputs.objects["description"] = list("abcde")
    # also for an image whose only object covers no token; object 4 is of another split
    table = scores_table("s", score_of(name, inputs, average_over="images"))
    assert table["cost"].tolist() == [3.0] * LAYERS * HEADS
    table = scores_table("s", Scores(np.array([0.5, 0.25])))
    assert table["cost"].isna().all()


def test_tables_that_do_not_fit_are_refused(tmp_path):
    inputs, *_ = make_inputs()
    beyond = inputs.attention.assign(top_token=TOKENS)
    with pytest.raises(UserError, match=r"top_token of object 0 is none of its image's 24 tokens;"):
        score_of("pointing", replace(inputs, attention=beyond))
    with pytest.raises(UserError, match="not one row for each object, layer and head; delete"):
        score_of("image_mass", replace(inputs, attention=inputs.attention.iloc[1:]))
    with pytest.raises(UserError, match="of other objects; delete"):
        score_of("image_mass", replace(inputs, tokens=inputs.tokens.iloc[1:]))
    with pytest.raises(UserError, match="lower mask_share"):
        score_of("pointing", inputs, mask_share=1)
    old = pd.DataFrame([ATTENTION])
    for column in ("image_mass", "object_mass", "top_token", "spatial_entropy"):
        old.drop(columns=column).to_parquet(tmp_path / "old.parquet")
        message = f"column {column} is missing in this table of attention; add it"
        assert_refused(tmp_path / "old.parquet", "attention", message)

"""Scores from the attention pass against plain arithmetic, and planted heads that they find."""

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import torch

from headimpact import registry
from headimpact.guards import UserError
from headimpact.models.family import Tile, TokenGrid
from headimpact.scores.attention import head_columns
from headimpact.scores.inputs import ScoreInputs, Scores, scores_table
from headimpact.scores.iou import random_iou
from headimpact.scores.recovery import recovery
from headimpact.scores.sinks import find_sinks

TILES, ROWS, COLUMNS, LAYERS, HEADS = 2, 3, 4, 3, 2
TOKENS = TILES * ROWS * COLUMNS
GRID = TokenGrid((Tile(ROWS, COLUMNS, (0, 0, 4, 3)), Tile(ROWS, COLUMNS, (0, 0, 4, 3))))
IMAGES = [7, 7, 8, 9]  # of objects 0 to 3; object 3 covers no token by half
NEW = (
    *("image_mass", "object_mass", "pointing", "spatial_entropy", "attended_share"),
    "weighted_head_impact",
)
SINKS = ("sink_share", "head_impact_without_sinks")


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


def test_sinks_are_background_that_most_heads_attend_to_for_every_object():
    _, attention, covered = make_inputs()
    attention = np.full_like(attention, 0.001)
    place = iter(np.flatnonzero(~(covered[:2] > 0).any(0)))  # image 7 has objects 0 and 1
    sink, half, first, other = (next(place) for _ in range(4))
    attention[:2, :, :, sink] = 0.2
    attention[:2, 0, 0, sink] = 0.001  # five heads of six
    attention[:2, :2, 0, half] = attention[:2, 0, 1, half] = 0.2  # three heads of six
    attention[0, :, :, first] = 0.2  # for one of the two objects
    attention[:2, :, :, 0] = 0.2  # on the objects
    attention[2:, :, :, other] = 0.2  # images 8 and 9 have one object each
    inputs, *_ = make_inputs(attention)
    sinks = find_sinks(inputs, 0.5)
    assert {x: np.flatnonzero(mask).tolist() for x, mask in sinks.items()} == {0: [sink], 1: [sink]}
    assert np.flatnonzero(find_sinks(inputs, 0.4)[0]).tolist() == sorted([sink, half])
    shares = score_of("sink_share", inputs)
    # head 0 of layer 0 attends to tokens half, first and 0, or to half and 0
    assert shares.items[:, 0, 0].tolist() == [0, 0]
    assert shares.items[:, 2, 1] == pytest.approx([1 / 3, 1 / 2])
    impact, remaining = score_of("head_impact_without_sinks", inputs), np.arange(TOKENS) != sink
    assert impact.n == 2
    for x, layer, head in np.ndindex(2, LAYERS, HEADS):
        bits = attention[x, layer, head] > attention[x, layer, head].mean()
        mask = covered[x] >= 0.5
        expected = (bits & mask).sum() / ((bits | mask) & remaining).sum()
        assert impact.items[x, layer, head] == pytest.approx(expected)
    sizes = [(a > a.mean(-1, keepdims=True))[..., remaining].sum(-1) for a in attention[:2]]
    chance = [
        random_iou(n, (c >= 0.5).sum(), TOKENS - 1) for n, c in zip(sizes, covered, strict=False)
    ]
    assert impact.null == pytest.approx(np.mean(chance, axis=0))


def test_without_sinks_head_impact_is_that_of_images_with_several_objects():
    inputs, *_ = make_inputs()
    assert not any(mask.any() for mask in find_sinks(inputs, 1).values())
    scores = score_of("head_impact_without_sinks", inputs, heads_share=1)
    impact = score_of("head_impact", inputs)
    assert (scores.items == impact.items[:2]).all() and scores.images.tolist() == [7, 7]
    inputs.objects["sample_id"] = range(5)
    for name in SINKS:
        with pytest.raises(UserError, match=r"no image has two objects.*objects_per_image"):
            score_of(name, inputs)


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


@pytest.mark.parametrize("name", ["head_impact", "specific_head_impact", *NEW, *SINKS])
def test_the_cost_is_a_pass_for_each_image_with_attention(name):
    inputs, *_ = make_inputs()
    inputs.objects["description"] = list("abcde")
    # also for an image whose only object covers no token; object 4 is of another split
    table = scores_table("s", score_of(name, inputs, average_over="images"))
    assert table["cost"].tolist() == [3.0] * LAYERS * HEADS
    table = scores_table("s", Scores(np.array([0.5, 0.25])))
    assert table["cost"].isna().all()


def test_tables_that_do_not_fit_are_refused():
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

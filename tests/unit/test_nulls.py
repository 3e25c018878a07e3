"""Nulls of Head Impact, specific Head Impact and other masks, against plain loops."""

from itertools import combinations, product
from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from headimpact.dataset.masks import encode
from headimpact.guards import UserError
from headimpact.models.family import Tile, TokenGrid
from headimpact.scores.attention import pack
from headimpact.scores.coverage import add_rings, coverage, shifted_tokens
from headimpact.scores.head_impact import head_impact
from headimpact.scores.inputs import ScoreInputs
from headimpact.scores.iou import random_iou
from headimpact.scores.nulls import head_impact_nulls, nulls_table
from headimpact.scores.specific import specific_head_impact
from headimpact.scores.stability import top_stability

# (image, description) of each object; objects 8 and 9 cover no token
OBJECTS = [
    *((10, "a cat"), (10, "a dog"), (10, "A dog"), (11, "a bus")),
    *((12, "a cup"), (12, "a cup"), (13, "a sun"), (13, "a hat"), (13, "a fox"), (11, "an ant")),
]
ROWS, COLUMNS, LAYERS, HEADS, SHIFTS = 5, 8, 3, 2, 4


def make_inputs(seed=0):
    """Random masks and attention of OBJECTS, in an order that is not that of their ids."""
    rng, tokens = np.random.default_rng(seed), ROWS * COLUMNS
    covered = rng.random((len(OBJECTS), tokens)) * (rng.random((len(OBJECTS), tokens)) < 0.3)
    covered[8:] = 0.1
    ids = rng.permutation(len(OBJECTS))
    grid = {"tiles": 1, "rows": ROWS, "columns": COLUMNS}
    keys = list(product(ids, range(LAYERS), range(HEADS)))
    bits = rng.random((2, len(keys), tokens)) < rng.random((2, len(keys), 1))
    attention = pd.DataFrame(keys, columns=["object_id", "layer", "head"])
    shifted = [(x, n, (rng.random(tokens) < 0.2) * (x != 3)) for x in ids for n in range(SHIFTS)]
    samples, texts = zip(*OBJECTS, strict=True)
    return ScoreInputs(
        samples=None,
        objects=pd.DataFrame(
            {"object_id": range(len(OBJECTS)), "sample_id": samples, "description": texts}
        ),
        tokens=pd.DataFrame({"object_id": ids, **grid, "coverage": list(covered[ids])}),
        attention=attention.assign(attended=pack(bits[0])),
        shifted=pd.DataFrame(shifted, columns=["object_id", "shift", "coverage"]),
        untrained=attention.assign(attended=pack(bits[1])),
    )


def plain_iou(attended, mask):
    both = sum(a and m for a, m in zip(attended, mask, strict=True))
    either = sum(a or m for a, m in zip(attended, mask, strict=True))
    return both / either


def bits_of(attention, object_id, layer, head):
    rows = attention[["object_id", "layer", "head"]].to_numpy()
    (place,) = np.flatnonzero((rows == (object_id, layer, head)).all(1))
    packed = np.frombuffer(attention["attended"].iloc[place], np.uint8)
    return np.unpackbits(packed)[: ROWS * COLUMNS].astype(bool).tolist()


def masks_of(inputs):
    coverages = inputs.tokens.set_index("object_id")["coverage"]
    return {x: [c >= 0.5 for c in coverages[x]] for x in range(len(OBJECTS))}


PLACES = list(product(range(LAYERS), range(HEADS)))


def test_random_tokens_get_the_mean_over_all_sets_of_as_many():
    mask = [True, True, True] + [False] * 4
    for size in range(8):
        sets = [[i in chosen for i in range(7)] for chosen in combinations(range(7), size)]
        expected = np.mean([plain_iou(attended, mask) for attended in sets])
        assert random_iou(np.array([[size]]), 3, 7) == pytest.approx(expected)


def test_chance_stands_beside_head_impact():
    inputs = make_inputs()
    scores, masks = head_impact(inputs, 0.5, 0, "objects"), masks_of(inputs)
    assert scores.n == 8
    for layer, head in PLACES:
        expected = [
            random_iou(sum(bits_of(inputs.attention, x, layer, head)), sum(masks[x]), 40)
            for x in range(8)
        ]
        assert scores.null[layer, head] == pytest.approx(np.mean(expected))


def test_other_objects_are_those_of_the_image_with_another_description():
    inputs, masks, expected = make_inputs(), masks_of(make_inputs()), {}
    # cat against both dogs and each dog against the cat; sun and hat; the fox covers no token,
    # both cups have one description, and beside the bus there is only an ant that covers no token
    for x, others in {0: [1, 2], 1: [0], 2: [0], 6: [7], 7: [6]}.items():
        for place in PLACES:
            attended = bits_of(inputs.attention, x, *place)
            values = [plain_iou(attended, masks[other]) for other in others]
            expected[x, place] = plain_iou(attended, masks[x]), np.mean(values)
    null = head_impact_nulls(inputs, 0.5, 0, "objects")["other objects"]
    specific = specific_head_impact(inputs, 0.5, 0, "objects")
    assert null.objects == specific.n == 5
    assert (
        null.left_out == "1: no other object in the image; 2: only objects of an equal description"
    )
    for place in PLACES:
        own, others = np.mean([expected[x, place] for x in (0, 1, 2, 6, 7)], axis=0)
        assert null.head_impact.value[place] == pytest.approx(own)
        assert null.scores.value[place] == pytest.approx(others)
        assert specific.value[place] == pytest.approx(own - others)


def test_a_study_without_two_objects_in_an_image_has_no_specific_head_impact():
    inputs = make_inputs()
    inputs.objects["sample_id"] = range(len(OBJECTS))
    with pytest.raises(UserError, match="objects_per_image"):
        specific_head_impact(inputs, 0.5, 0, "objects")
    assert "other objects" not in head_impact_nulls(inputs, 0.5, 0, "objects")


def test_shifted_masks_untrained_model_and_attended_share_against_plain_loops():
    inputs, masks = make_inputs(), masks_of(make_inputs())
    nulls = head_impact_nulls(inputs, 0.5, 0, "objects")
    shifted = inputs.shifted.set_index(["object_id", "shift"])["coverage"]
    # the shifted masks of object 3 cover no token
    assert nulls["shifted masks"].objects == 7
    assert nulls["shifted masks"].left_out == "1: no shifted mask covers a token"
    for place in PLACES:
        attended = {x: bits_of(inputs.attention, x, *place) for x in range(8)}
        copies = {x: [list(shifted[x, n] > 0) for n in range(SHIFTS)] for x in range(8)}
        values = [
            np.mean([plain_iou(attended[x], m) for m in copies[x]]) for x in range(8) if x != 3
        ]
        assert nulls["shifted masks"].scores.value[place] == pytest.approx(np.mean(values))
        values = [plain_iou(bits_of(inputs.untrained, x, *place), masks[x]) for x in range(8)]
        assert nulls["untrained model"].scores.value[place] == pytest.approx(np.mean(values))
        values = [np.mean(attended[x]) for x in range(8)]
        assert nulls["attended share"].scores.value[place] == pytest.approx(np.mean(values))
    inputs.untrained = None
    assert "untrained model" not in head_impact_nulls(inputs, 0.5, 0, "objects")


def test_means_of_nulls_are_paired_by_object_and_clustered_by_image():
    inputs = make_inputs()
    nulls = head_impact_nulls(inputs, 0.5, 0, "objects")
    table = nulls_table(nulls).set_index("null")
    impact = nulls["shifted masks"].head_impact.items.mean((1, 2))
    shifted = nulls["shifted masks"].scores.items.mean((1, 2))
    chance = nulls["shifted masks"].chance.items.mean((1, 2))
    row, difference = table.loc["shifted masks"], impact - shifted
    share = difference.mean() / (impact - chance).mean()
    assert row["difference"] == pytest.approx(row["head_impact"] - row["value"])
    assert row["above_chance"] == pytest.approx(share)

    def error(values):  # sqrt(sum over images of squared residual sums x c / (c - 1)) / n
        images = pd.Series(values - values.mean()).groupby([10, 10, 10, 12, 12, 13, 13]).sum()
        return np.sqrt((images**2).sum() * 3 / 2) / len(values)

    assert row["difference_error"] == pytest.approx(error(difference))
    ratio_error = error(difference - share * (impact - chance)) / abs((impact - chance).mean())
    assert row["above_chance_error"] == pytest.approx(ratio_error)
    assert table.loc["random tokens", "above_chance"] == pytest.approx(1)
    assert table.loc[["attended share"], "difference"].isna().all()


def test_averaged_over_images_each_image_has_the_same_weight():
    inputs = make_inputs()
    objects = head_impact(inputs, 0.5, 0, "objects")
    images = head_impact(inputs, 0.5, 0, "images")
    assert objects.images.tolist() == [10, 10, 10, 11, 12, 12, 13, 13]
    assert images.images.tolist() == [10, 11, 12, 13] and images.n == 4
    means = [objects.items[objects.images == image].mean(0) for image in images.images]
    assert images.items == pytest.approx(np.array(means))
    assert images.value == pytest.approx(np.mean(means, axis=0))
    masks, sizes = masks_of(inputs), [sum(bits_of(inputs.attention, x, 1, 0)) for x in range(8)]
    chance = [random_iou(size, sum(masks[x]), 40) for x, size in enumerate(sizes)]
    of_images = [chance[:3], chance[3:4], chance[4:6], chance[6:]]
    assert images.null[1, 0] == pytest.approx(np.mean([np.mean(x) for x in of_images]))


@given(st.integers(0, 3), st.integers(1, 3), st.lists(st.integers(0, 5 * 6 * 3 - 1), max_size=9))
def test_rings_reach_that_many_tokens_in_every_direction_and_no_other_tile(rings, tiles, chosen):
    mask = np.zeros((tiles, 5, 6), bool)
    mask.reshape(-1)[[place for place in chosen if place < mask.size]] = True
    expected = [
        any(
            mask[t, i, j] and max(abs(i - row), abs(j - column)) <= rings
            for i in range(5)
            for j in range(6)
        )
        for t in range(tiles)
        for row in range(5)
        for column in range(6)
    ]
    assert add_rings(mask.ravel(), (tiles, 5, 6), rings).tolist() == expected


def coverages(rows):
    return [tuple(row["coverage"].tolist()) for row in rows]


def test_masks_move_around_the_edges_of_the_image():
    """Every shifted coverage is that of the mask rolled by some distance."""
    mask = np.zeros((6, 8), bool)
    mask[1:3, 2:7] = True
    samples = pd.DataFrame({"sample_id": [0], "width": [8], "height": [6]})
    objects = pd.DataFrame({"sample_id": 0, "object_id": [4, 5], "mask": encode(mask)})
    grid = TokenGrid((Tile(3, 4, (0.0, 0.0, 8.0, 6.0)),))
    family = SimpleNamespace(grid=lambda width, height: grid)
    rolled = {
        tuple(coverage(np.roll(mask, (down, right), (0, 1)), grid.rectangles).tolist())
        for down in range(6)
        for right in range(8)
    }
    rows = shifted_tokens(family, samples, objects, shifts=20, seed=0)
    drawn = {
        x: [tuple(r["coverage"].tolist()) for r in rows if r["object_id"] == x] for x in (4, 5)
    }
    assert [r["shift"] for r in rows] == [*range(20)] * 2
    assert set(drawn[4]) <= rolled and len(set(drawn[4])) > 5
    assert drawn[4] != drawn[5]
    # an object's shifts depend on nothing but the seed, and more shifts keep the first ones
    more = shifted_tokens(family, samples, objects.iloc[1:], shifts=30, seed=0)
    assert coverages(more[:20]) == drawn[5]
    other_seed = shifted_tokens(family, samples, objects, shifts=20, seed=1)
    assert coverages(other_seed[:20]) != drawn[4]


def test_equal_objects_give_the_same_top_whatever_is_drawn():
    inputs = make_inputs()
    scores = head_impact(inputs, 0.5, 0, "objects")
    items = np.broadcast_to(scores.items[:1], (40, LAYERS, HEADS))
    equal = SimpleNamespace(items=items, images=np.arange(40) // 2)
    table = top_stability(equal, 2)
    assert table["images"].tolist() == [2, 5, 10, 20]
    assert (table[["same_layers", "overlap"]] == 1).all(axis=None)


def test_the_top_of_resampled_images_against_a_plain_bootstrap():
    rng = np.random.default_rng(4)
    items = rng.normal(np.linspace(0.3, 0, 6)[:, None], 1, size=(90, 6, 3))
    scores = SimpleNamespace(items=items, images=np.arange(90) // 3)
    table = top_stability(scores, 2, draws=3000).set_index("images")
    top, same, common = set(np.argsort(-items.mean((0, 2)))[:2]), 0, 0
    for _ in range(3000):
        images = rng.integers(0, 30, 15)
        drawn = np.concatenate([items[3 * image : 3 * image + 3] for image in images])
        other = set(np.argsort(-drawn.mean((0, 2)))[:2])
        same, common = same + (other == top), common + len(other & top)
    assert table.loc[15, "same_layers"] == pytest.approx(same / 3000, abs=0.04)
    assert table.loc[15, "overlap"] == pytest.approx(common / 6000, abs=0.03)
    assert table["overlap"].is_monotonic_increasing
    turned = SimpleNamespace(items=-items, images=scores.images)
    pd.testing.assert_frame_equal(
        top_stability(turned, 2, higher_is_better=False, draws=3000), table.reset_index()
    )


def test_a_score_without_items_cannot_be_resampled():
    with pytest.raises(UserError, match="resampled"):
        top_stability(SimpleNamespace(items=None, images=None), 2)

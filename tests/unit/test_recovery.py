"""Scores against heads that are known to carry what the image says."""

import json

import numpy as np
import pytest

from headimpact.guards import UserError
from headimpact.scores.inputs import Scores
from headimpact.scores.recovery import read_reading_heads, recovery

READING = np.zeros((6, 4), bool)
READING[[1, 1, 4], [0, 2, 3]] = True


def scores_of(items, images=None):
    images = np.arange(len(items)) // 2 if images is None else images
    return Scores(items.mean(0), n=len(items), items=items, images=images)


def rows_of(scores, **options):
    return {row.unit: row for row in recovery(scores, READING, **options).itertuples()}


def test_planted_heads_and_their_layers_are_found():
    noise = np.random.default_rng(0).normal(0, 0.1, (40, 6, 4))
    for sign in (1, -1):
        rows = rows_of(scores_of(sign * (noise + READING)), higher_is_better=sign > 0)
        for unit, total, reading in (("head", 24, 3), ("layer", 6, 2)):
            row = rows[unit]
            assert (row.total, row.reading) == (total, reading)
            assert row.found == row.area == row.found_low == row.area_low == 1
    # the wrong direction finds none
    rows = rows_of(scores_of(noise + READING), higher_is_better=False)
    assert rows["head"].found == rows["head"].area == rows["head"].area_high == 0


def test_the_area_counts_pairs_and_half_of_ties():
    rng = np.random.default_rng(1)
    for _ in range(20):
        value = rng.integers(0, 5, READING.shape).astype(float)
        pairs = value[READING][:, None] - value[~READING][None]
        row = rows_of(Scores(value))["head"]
        assert row.area == pytest.approx((pairs > 0).mean() + (pairs == 0).mean() / 2)
        assert np.isnan([row.area_low, row.found_high]).all()  # no items to resample


def test_equal_scores_are_chance():
    rows = rows_of(scores_of(np.full((10, 6, 4), 0.1)))
    assert rows["head"].area == rows["head"].area_low == rows["layer"].area_high == 0.5


def test_intervals_are_the_percentiles_of_resampled_images():
    rng, images = np.random.default_rng(2), np.array([5, 5, 9, 9, 9, 2, 4, 4])
    items = 0.3 * READING + rng.normal(0, 0.4, (8, 6, 4))
    counts = np.random.default_rng(0).multinomial(4, [1 / 4] * 4, 1000)
    areas = []
    for draw in counts:
        weight = dict(zip([2, 4, 5, 9], draw, strict=True))
        value = sum(weight[image] * item for image, item in zip(images, items, strict=True))
        areas.append((value[READING][:, None] > value[~READING][None]).mean())
    row = rows_of(scores_of(items, images))["head"]
    assert [row.area_low, row.area_high] == pytest.approx(np.quantile(areas, [0.025, 0.975]))
    assert row.area_low < row.area < row.area_high


def test_objects_of_an_image_are_drawn_together():
    # two images that say the opposite: a draw holds both or one of them twice
    items = np.stack([READING.astype(float)] * 30 + [2.0 * ~READING] * 30)
    row = rows_of(scores_of(items, np.repeat([7, 3], 30)))["head"]
    assert (row.area, row.area_low, row.area_high) == (0, 0, 1)


def test_a_score_that_resampled_its_images_itself_has_intervals_too():
    drawn = np.stack([READING, ~READING, READING]).astype(float)
    row = rows_of(Scores(READING.astype(float), resampled=drawn))["head"]
    assert (row.area, row.area_high) == (1, 1)
    assert row.area_low == pytest.approx(np.quantile([1, 0, 1], 0.025))


def test_a_score_of_layers_has_no_row_for_heads():
    rows = rows_of(Scores(np.array([0.0, 3, 1, 2, 4, 0])))
    assert set(rows) == {"layer"} and rows["layer"].found == 1


def test_layers_are_left_out_if_all_of_them_read():
    table = recovery(Scores(np.eye(4)), np.eye(4, dtype=bool))
    assert table["unit"].tolist() == ["head"]


@pytest.mark.parametrize(
    "content",
    [
        *("[]", "{}", '{"reading_heads": []}', '{"reading_heads": [[6, 0]]}', "no json"),
        *('{"reading_heads": [[-1, 0]]}', '{"reading_heads": [[1]]}', '{"reading_heads": 3}'),
        json.dumps({"reading_heads": [[i, j] for i in range(6) for j in range(4)]}),
    ],
)
def test_a_file_without_reading_heads_is_refused(tmp_path, content):
    path = tmp_path / "known_answer.json"
    path.write_text(content)
    with pytest.raises(UserError, match=r"known_answer\.json: no list reading_heads"):
        read_reading_heads(path, 6, 4)


def test_reading_heads_are_read(tmp_path):
    path = tmp_path / "known_answer.json"
    path.write_text(json.dumps({"reading_heads": [[1, 0], [1, 2], [4, 3]]}))
    assert (read_reading_heads(path, 6, 4) == READING).all()

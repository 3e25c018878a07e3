"""Head Impact: its arithmetic, and a comparison with an implementation in plain loops."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plain_pass import full_pass

from headimpact.dataset.masks import encode
from headimpact.guards import UserError
from headimpact.models import prompts
from headimpact.models.continuations import score_continuations
from headimpact.models.family import EncodedImage
from headimpact.scores.attention import binarise, measure_attention, pack
from headimpact.scores.attention_table import unpack
from headimpact.scores.coverage import coverage, mask_tokens, object_tokens
from headimpact.scores.head_impact import average, head_impact
from headimpact.scores.inputs import ScoreInputs, Scores, scores_of_table, scores_table
from headimpact.scores.iou import iou
from headimpact.scores.recovery import recovery

BITS = st.lists(st.booleans(), min_size=1, max_size=70)


def test_binarise_is_strictly_above_the_mean():
    # the mean of 1, 2, 3 is 2, and 2 is not above it
    for kind in (np.array, torch.tensor):
        assert binarise(kind([1.0, 2.0, 3.0])).tolist() == [False, False, True]
        assert not binarise(kind([0.25] * 4)).any()


def test_iou_by_hand():
    mask = np.array([True, True, False, False])
    attended = np.array([[True, False, True, False], [True, True, False, False]])
    # intersection 1 and union 3; intersection 2 and union 2
    assert iou(attended, mask).tolist() == [1 / 3, 1.0]


@given(st.data())
def test_iou_properties(data):
    mask = np.array(data.draw(BITS.filter(any)))
    attended = np.array(data.draw(st.lists(st.booleans(), min_size=len(mask), max_size=len(mask))))
    value = iou(attended, mask)
    assert 0 <= value <= 1
    assert (value == 1) == (attended == mask).all()
    assert (value == 0) == (not (attended & mask).any())


def test_iou_refuses_an_empty_mask():
    with pytest.raises(ValueError, match="no token"):
        iou(np.array([True]), np.array([False]))


@given(BITS)
def test_unpack_inverts_pack(bits):
    assert unpack(pack(np.array(bits)), len(bits)).tolist() == [bits]


def test_unpack_refuses_other_lengths():
    with pytest.raises(ValueError, match="are not 20 bits"):
        unpack([b"\x00"], 20)


def test_share_of_zero_means_any_coverage():
    covered = np.array([0.0, 0.1, 0.5, 1.0], np.float32)
    assert mask_tokens(covered, 0).tolist() == [False, True, True, True]
    assert mask_tokens(covered, 0.5).tolist() == [False, False, True, True]


def test_head_impact_over_objects_and_over_images():
    ious = np.array([0.2, 0.4, 0.9]).reshape(3, 1, 1)  # two objects of image 7, one of image 8
    images = np.array([7, 7, 8])
    scores = average(ious, images, "objects")
    assert (scores.value.item(), scores.n) == (pytest.approx(0.5), 3)
    # residual sums -0.4 and 0.4: sqrt(0.32) / 3 * sqrt(2 / 1)
    assert scores.standard_error.item() == pytest.approx(np.sqrt(0.32) / 3 * np.sqrt(2))
    scores = average(ious, images, "images")
    assert (scores.value.item(), scores.n) == (pytest.approx(0.6), 2)  # mean of 0.3 and 0.9
    assert scores.standard_error.item() == pytest.approx(np.std([0.3, 0.9], ddof=1) / np.sqrt(2))


def _make_study(photo, size, masks, descriptions):
    samples = pd.DataFrame(
        [{"sample_id": 0, "image_id": 5, "file_name": "x", "width": size[0], "height": size[1]}]
    )
    objects = pd.DataFrame(
        {
            "sample_id": 0,
            "object_id": range(len(masks)),
            "description": descriptions,
            "mask": [encode(mask) for mask in masks],
        }
    )

    class Folder:
        def image(self, _name):
            return photo(*size)

    return samples, objects, Folder()


def _make_inputs(model, family, samples, objects, folder, batch):
    tables = measure_attention(model, family, folder, samples, objects, batch)
    return ScoreInputs(
        samples,
        objects,
        tokens=pd.DataFrame(object_tokens(family, samples, objects)),
        attention=pd.concat(map(pd.DataFrame, tables), ignore_index=True),
    )


def test_head_impact_equals_an_implementation_in_plain_loops(model_and_family, photo):
    """Attention comes from full eager forward passes with output_attentions=True."""
    model, family = model_and_family
    size = (108, 72)
    masks = [np.zeros((72, 108), bool) for _ in range(3)]
    masks[0][5:50, 10:60] = True
    masks[1][30:72, 70:108] = True
    masks[2][:, :20] = True
    texts = ["a small red circle", "a dog", "a large blue heart"]
    samples, objects, folder = _make_study(photo, size, masks, texts)
    inputs = _make_inputs(model, family, samples, objects, folder, batch=2)
    scores = head_impact(inputs, 0.5, 0, "objects")
    assert scores.n == 3
    grid, expected = family.grid(*size), np.zeros((family.layers, family.heads))
    for mask, text in zip(masks, texts, strict=True):
        _, attention = full_pass(
            model, family, photo(*size), prompts.description(family, grid, text)
        )
        inside = [bool(c >= 0.5) for c in coverage(mask, grid.rectangles)]
        for layer in range(family.layers):
            for head in range(family.heads):
                row = attention[layer, head].double()
                above = [bool(value > row.mean()) for value in row]
                intersection = sum(a and m for a, m in zip(above, inside, strict=True))
                union = sum(a or m for a, m in zip(above, inside, strict=True))
                expected[layer, head] += intersection / union / len(masks)
    np.testing.assert_allclose(scores.value, expected, atol=1e-5)


def test_an_object_that_covers_no_token_is_left_out(model_and_family, photo):
    model, family = model_and_family
    masks = [np.zeros((72, 108), bool) for _ in range(2)]
    masks[0][5:50, 10:60] = True
    masks[1][3, 3] = True  # a single pixel covers less than half of its token
    samples, objects, folder = _make_study(photo, (108, 72), masks, ["a cat", "a dot"])
    inputs = _make_inputs(model, family, samples, objects, folder, batch=8)
    scores = head_impact(inputs, 0.5, 0, "objects")
    assert scores.n == 1 and scores.items.shape == (1, family.layers, family.heads)
    inputs.attention = inputs.attention[inputs.attention["object_id"] == 1]
    with pytest.raises(UserError, match="of other objects"):
        head_impact(inputs, 0.5, 0, "objects")
    inputs.tokens = inputs.tokens.iloc[1:]
    with pytest.raises(UserError, match="mask_share"):
        head_impact(inputs, 0.5, 0, "objects")


def test_scores_of_heads_and_of_layers_become_tables():
    table = scores_table(
        "shallow", average(np.arange(6.0).reshape(1, 2, 3), np.array([0]), "objects")
    )
    assert table["value"].tolist() == [0, 1, 2, 3, 4, 5]
    assert table["layer"].tolist() == [0, 0, 0, 1, 1, 1]
    assert table["head"].tolist() == [0, 1, 2, 0, 1, 2]
    layers = scores_table("deep", Scores(np.array([0.5, 0.25])))
    assert layers["head"].isna().all() and layers["layer"].tolist() == [0, 1]
    assert layers["standard_error"].isna().all() and set(layers["score"]) == {"deep"}
    # and back, in whatever order the rows stand
    assert (scores_of_table(table[::-1]).value == np.arange(6).reshape(2, 3)).all()
    assert scores_of_table(layers[::-1]).value.tolist() == [0.5, 0.25]


def test_a_table_of_scores_holds_the_scores_of_resampled_images():
    rng = np.random.default_rng(0)
    # an image of three objects, and two of one
    scores = average(rng.normal(size=(5, 2, 3)), np.array([4, 4, 4, 7, 9]), "objects")
    drawn = scores.resample_images()
    counts = np.random.default_rng(0).multinomial(3, [1 / 3] * 3, len(drawn))
    for draw, values in zip(counts, drawn, strict=True):
        objects = np.repeat(scores.items, np.repeat(draw, [3, 1, 1]), axis=0)
        np.testing.assert_allclose(values, objects.mean(0), rtol=1e-12)
    table = scores_table("drawn", scores)
    np.testing.assert_allclose(scores_of_table(table[::-1]).resampled, drawn, rtol=1e-6)
    # a score that is no mean over items has none
    assert scores_of_table(scores_table("deep", Scores(np.array([0.5, 0.25])))).resampled is None


def test_a_planted_head_has_the_highest_impact(model_and_family):
    """Head 1 of layer 0 gets a query that matches only the keys of the object's tokens."""
    model, family = model_and_family
    grid = family.grid(108, 108)
    mask = np.zeros((108, 108), bool)
    mask[24:72, 36:84] = True
    inside = coverage(mask, grid.rectangles) >= 0.5
    decoder = model.get_submodule(family.decoder)
    attention = decoder.layers[0].self_attn
    size = attention.head_dim
    slowest = size // 2 - 1  # the dimension with the lowest rotary frequency
    state = {name: value.clone() for name, value in model.state_dict().items()}
    try:
        with torch.no_grad():
            embedding = decoder.get_input_embeddings().weight
            embedding[:, 0], embedding[:, 1] = 0, 1
            for projection, head, reads, sign in (
                (attention.q_proj, 1, 1, 1),
                (attention.q_proj, 0, 1, -1),  # the same key with the opposite query
                (attention.k_proj, 0, 0, 1),
            ):
                rows = slice(head * size, (head + 1) * size)
                projection.weight[rows] = 0
                projection.weight[head * size + slowest, reads] = sign
                if projection.bias is not None:
                    projection.bias[rows] = 0
        hidden = decoder.config.hidden_size
        features = torch.randn(grid.tokens, hidden, generator=torch.Generator().manual_seed(1))
        features[:, 0], features[:, 1] = 0, 0
        features[torch.from_numpy(inside), 0] = 5
        sequence = prompts.description(family, grid, "a large red square")
        conversations = [(EncodedImage(features, grid), sequence)]
        (score,) = score_continuations(model, family, conversations, attention=True)
    finally:
        model.load_state_dict(state)
    values = iou(binarise(score.attention.double()).numpy(), inside)
    assert values[0, 1] == values.max()
    assert values[0, 1] > 0.95
    assert values[0, 0] == 0
    assert np.sort(values.ravel())[-2] < 0.7
    planted = np.zeros(values.shape, bool)
    planted[0, 1] = True
    of_heads = recovery(Scores(values), planted).iloc[0]
    assert of_heads["found"] == of_heads["area"] == 1

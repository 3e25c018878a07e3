"""Head Impact: its arithmetic, and the whole of it against a plain implementation."""

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from plain_pass import plain

from headimpact.dataset.masks import encode
from headimpact.models import prompts
from headimpact.models.continuations import score_continuations
from headimpact.scores.attention import attend
from headimpact.scores.coverage import coverage, object_tokens
from headimpact.scores.head_impact import (
    binarise,
    head_impact,
    iou,
    mask_tokens,
    measure,
    pack,
    unpack,
)

BITS = st.lists(st.booleans(), min_size=1, max_size=70)


def test_binarise_is_strictly_above_the_mean():
    # mean of 1, 2, 3 is 2: what equals it is not above it
    for kind in (np.array, torch.tensor):
        assert binarise(kind([1.0, 2.0, 3.0])).tolist() == [False, False, True]
        assert not binarise(kind([0.25] * 4)).any()


def test_iou_by_hand():
    mask = np.array([True, True, False, False])
    attended = np.array([[True, False, True, False], [True, True, False, False]])
    # one token shared of three in either; two of two
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
def test_pack_and_back(bits):
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
    value, error, n = head_impact(ious, images, "objects")
    assert (value.item(), n) == (pytest.approx(0.5), 3)
    # residual sums -0.4 and 0.4: sqrt(0.32) / 3 * sqrt(2 / 1)
    assert error.item() == pytest.approx(np.sqrt(0.32) / 3 * np.sqrt(2))
    value, error, n = head_impact(ious, images, "images")
    assert (value.item(), n) == (pytest.approx(0.6), 2)  # mean of 0.3 and 0.9
    assert error.item() == pytest.approx(np.std([0.3, 0.9], ddof=1) / np.sqrt(2))


def _study(photo, size, masks, descriptions):
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


def _attended(*study, batch):
    return pd.concat(map(pd.DataFrame, attend(*study, batch)), ignore_index=True)


def test_against_a_plain_implementation(made, photo):
    """Whole passes with output_attentions=True under eager, thresholds and IoU in plain loops."""
    model, family = made
    size = (108, 72)
    masks = [np.zeros((72, 108), bool) for _ in range(3)]
    masks[0][5:50, 10:60] = True
    masks[1][30:72, 70:108] = True
    masks[2][:, :20] = True
    texts = ["a small red circle", "a dog", "a large blue heart"]
    samples, objects, folder = _study(photo, size, masks, texts)
    attended = _attended(model, family, folder, samples, objects, batch=2)
    tokens = pd.DataFrame(object_tokens(family, samples, objects))
    _, scores, unseen = measure(samples, objects, tokens, attended, 0.5, "objects")
    assert len(unseen) == 0
    grid, wanted = family.grid(*size), np.zeros((family.layers, family.heads))
    for mask, text in zip(masks, texts, strict=True):
        _, attention = plain(model, family, photo(*size), prompts.description(family, grid, text))
        inside = [bool(c >= 0.5) for c in coverage(mask, grid.rectangles)]
        for layer in range(family.layers):
            for head in range(family.heads):
                row = attention[layer, head].double()
                above = [bool(value > row.mean()) for value in row]
                both = sum(a and m for a, m in zip(above, inside, strict=True))
                either = sum(a or m for a, m in zip(above, inside, strict=True))
                wanted[layer, head] += both / either / len(masks)
    got = scores.pivot(index="layer", columns="head", values="value").to_numpy()
    np.testing.assert_allclose(got, wanted, atol=1e-5)


def test_an_object_that_no_token_holds_is_left_out(made, photo):
    model, family = made
    masks = [np.zeros((72, 108), bool) for _ in range(2)]
    masks[0][5:50, 10:60] = True
    masks[1][3, 3] = True  # one pixel: half of no token
    samples, objects, folder = _study(photo, (108, 72), masks, ["a cat", "a dot"])
    attended = _attended(model, family, folder, samples, objects, batch=8)
    tokens = pd.DataFrame(object_tokens(family, samples, objects))
    impact, scores, unseen = measure(samples, objects, tokens, attended, 0.5, "objects")
    assert unseen["description"].tolist() == ["a dot"]
    assert set(impact["object_id"]) == {0}
    assert set(scores["n"]) == {1}
    with pytest.raises(ValueError, match="mask_share"):
        alone = objects.iloc[1:], tokens.iloc[1:], attended[attended["object_id"] == 1]
        measure(samples, *alone, 0.5, "objects")


def test_a_planted_head_has_the_highest_impact(made):
    """Layer 0's head 1 gets a query that only what the object's tokens carry can answer."""
    model, family = made
    grid = family.grid(108, 108)
    mask = np.zeros((108, 108), bool)
    mask[24:72, 36:84] = True
    inside = coverage(mask, grid.rectangles) >= 0.5
    decoder = model.get_submodule(family.decoder)
    attention = decoder.layers[0].self_attn
    size = attention.head_dim
    slow = size // 2 - 1  # the dimension that rotary positions turn least
    state = {name: value.clone() for name, value in model.state_dict().items()}
    try:
        with torch.no_grad():
            embedding = decoder.get_input_embeddings().weight
            embedding[:, 0], embedding[:, 1] = 0, 1
            for projection, head, reads, sign in (
                (attention.q_proj, 1, 1, 1),
                (attention.q_proj, 0, 1, -1),  # shares the key with head 1, and looks away
                (attention.k_proj, 0, 0, 1),
            ):
                rows = slice(head * size, (head + 1) * size)
                projection.weight[rows] = 0
                projection.weight[head * size + slow, reads] = sign
                if projection.bias is not None:
                    projection.bias[rows] = 0
        hidden = decoder.config.hidden_size
        features = torch.randn(grid.tokens, hidden, generator=torch.Generator().manual_seed(1))
        features[:, 0], features[:, 1] = 0, 0
        features[torch.from_numpy(inside), 0] = 5
        sequences = [prompts.description(family, grid, "a large red square")]
        (score,) = score_continuations(model, family, features, grid, sequences, attention=True)
    finally:
        model.load_state_dict(state)
    values = iou(binarise(score.attention.double()).numpy(), inside)
    assert values[0, 1] == values.max()
    assert values[0, 1] > 0.95
    assert values[0, 0] == 0
    assert np.sort(values.ravel())[-2] < 0.7

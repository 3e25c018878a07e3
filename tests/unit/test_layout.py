"""The layout of prompts and continuations, against small cases written out by hand."""

from types import SimpleNamespace

import pytest
import torch

from headimpact.miniature.checkpoints import MAKERS
from headimpact.models.family import Family, Sequence, Tile, TokenGrid
from headimpact.models.layout import (
    IGNORE,
    Segment,
    conversation_segments,
    lay_out,
    pad_layouts,
    padding,
)

IMAGE = 9
GRID = TokenGrid((Tile(1, 2, (0, 0, 2, 1)),))


class SmallFamily(Family):
    """A family of an attention pattern, whose token types tell image, prompt and target apart."""

    def __init__(self, pattern="causal"):
        super().__init__(SimpleNamespace(image_token_id=IMAGE), None, None)
        self.attention_pattern = pattern

    def token_types(self, ids, grid, is_prompt):
        assert grid is GRID
        return {"types": is_prompt.long() + 2 * (ids == self.image_token)}

    def _grid(self, width, height):
        return GRID

    pixels = placeholder = conversation = None


# begin, two image tokens, a word; then two continuations of two tokens and of one
TWO_CONTINUATIONS = [
    Segment((1, IMAGE, IMAGE, 2)),
    Segment((3, 4), parent=0, target=True),
    Segment((5,), parent=0, target=True),
]
# two lessons behind an image, the first with two answers
LESSONS = [
    Segment((1, IMAGE, IMAGE)),
    Segment((2, 3), parent=0),
    Segment((4, 5), parent=1, target=True),
    Segment((6,), parent=1, target=True),
    Segment((7, 8), parent=0),
    Segment((4,), parent=4, target=True),
]


def matrix(*rows):
    return [[mark == "x" for mark in row.replace(" ", "")] for row in rows]


@pytest.mark.parametrize("pattern", ["causal", "image", "prefix"])
def test_padding_is_hidden_from_all_other_tokens_and_sees_itself(pattern):
    prompt, answer, shorter = TWO_CONTINUATIONS
    family = SmallFamily(pattern)
    padded = lay_out(family, GRID, [prompt, padding(2), answer, padding(0), shorter, padding(3)])
    plain = lay_out(family, GRID, TWO_CONTINUATIONS)
    real = torch.tensor([0, 1, 2, 3, 6, 7, 8])
    is_padding = torch.ones(len(padded), dtype=torch.bool)
    is_padding[real] = False
    for window in (None, 2):
        visible = padded.visible(window=window)
        assert torch.equal(visible[real][:, real], plain.visible(window=window))
        assert not visible[real][:, is_padding].any()
        assert visible.diagonal().all()
    assert torch.equal(padded.positions[:, real], plain.positions)
    for name, types in plain.token_types.items():
        assert torch.equal(padded.token_types[name][real], types)
        # neither image nor prompt, to which a model gives attention in both directions
        assert (padded.token_types[name][is_padding] == 0).all()


def test_ids_labels_and_token_types_by_hand():
    layout = lay_out(SmallFamily(), GRID, TWO_CONTINUATIONS)
    assert layout.ids.tolist() == [1, IMAGE, IMAGE, 2, 3, 4, 5]
    assert layout.labels.tolist() == [IGNORE, IGNORE, IGNORE, IGNORE, 3, 4, 5]
    assert layout.is_image.tolist() == [False, True, True, False, False, False, False]
    assert layout.token_types["types"].tolist() == [1, 3, 3, 1, 0, 0, 0]
    assert len(layout) == 7


def test_continuations_restart_at_the_same_position():
    layout = lay_out(SmallFamily(), GRID, TWO_CONTINUATIONS)
    assert layout.positions.tolist() == [[0, 1, 2, 3, 4, 5, 4]]
    layout = lay_out(SmallFamily(), GRID, LESSONS)
    assert layout.positions.tolist() == [[0, 1, 2, 3, 4, 5, 6, 5, 3, 4, 5]]


def test_a_path_leads_from_the_root_through_the_ancestors():
    layout = lay_out(SmallFamily(), GRID, LESSONS)
    assert layout.path(0).tolist() == [0, 1, 2]
    assert layout.path(3).tolist() == [0, 1, 2, 3, 4, 7]
    assert layout.path(5).tolist() == [0, 1, 2, 8, 9, 10]


def test_causal_attention_by_hand():
    visible = lay_out(SmallFamily("causal"), GRID, TWO_CONTINUATIONS).visible()
    assert visible.tolist() == matrix(
        "x... .. .",
        "xx.. .. .",
        "xxx. .. .",
        "xxxx .. .",
        "xxxx x. .",
        "xxxx xx .",
        "xxxx .. x",
    )


def test_prefix_attention_by_hand():
    visible = lay_out(SmallFamily("prefix"), GRID, TWO_CONTINUATIONS).visible()
    assert visible.tolist() == matrix(
        "xxxx .. .",
        "xxxx .. .",
        "xxxx .. .",
        "xxxx .. .",
        "xxxx x. .",
        "xxxx xx .",
        "xxxx .. x",
    )


def test_image_attention_by_hand():
    visible = lay_out(SmallFamily("image"), GRID, TWO_CONTINUATIONS).visible()
    assert visible.tolist() == matrix(
        "x... .. .",
        "xxx. .. .",
        "xxx. .. .",
        "xxxx .. .",
        "xxxx x. .",
        "xxxx xx .",
        "xxxx .. x",
    )


def test_each_crop_of_an_image_sees_itself():
    segments = [Segment((IMAGE, IMAGE, 1, IMAGE, IMAGE))]
    visible = lay_out(SmallFamily("image"), GRID, segments).visible()
    assert visible.tolist() == matrix("xx...", "xx...", "xxx..", "xxxxx", "xxxxx")


@pytest.mark.parametrize("pattern", ["causal", "image"])
def test_answers_of_a_lesson_share_their_stem_alone(pattern):
    """The image is a block only under "image"; lessons see neither each other nor other answers."""
    visible = lay_out(SmallFamily(pattern), GRID, LESSONS).visible()
    second = "xxx" if pattern == "image" else "xx."
    assert visible.tolist() == matrix(
        "x.. .. .. . .. .",
        f"{second} .. .. . .. .",
        "xxx .. .. . .. .",
        "xxx x. .. . .. .",
        "xxx xx .. . .. .",
        "xxx xx x. . .. .",
        "xxx xx xx . .. .",
        "xxx xx .. x .. .",
        "xxx .. .. . x. .",
        "xxx .. .. . xx .",
        "xxx .. .. . xx x",
    )


def test_an_image_sees_no_prompt_where_several_follow_it():
    visible = lay_out(SmallFamily("prefix"), GRID, LESSONS).visible()
    assert visible.tolist() == matrix(
        "xxx .. .. . .. .",
        "xxx .. .. . .. .",
        "xxx .. .. . .. .",
        "xxx xx .. . .. .",
        "xxx xx .. . .. .",
        "xxx xx x. . .. .",
        "xxx xx xx . .. .",
        "xxx xx .. x .. .",
        "xxx .. .. . xx .",
        "xxx .. .. . xx .",
        "xxx .. .. . xx x",
    )


def test_an_image_sees_the_single_prompt_that_follows_it():
    segments = [Segment((IMAGE, IMAGE)), Segment((2,), parent=0), Segment((3,), 1, target=True)]
    visible = lay_out(SmallFamily("prefix"), GRID, segments).visible()
    assert visible.tolist() == matrix("xx x .", "xx x .", "xx x .", "xx x x")


@pytest.mark.parametrize("pattern", ["causal", "prefix", "image"])
def test_a_start_gives_the_rows_behind_it(pattern):
    layout = lay_out(SmallFamily(pattern), GRID, TWO_CONTINUATIONS)
    for start in range(len(layout) + 1):
        assert torch.equal(layout.visible(start), layout.visible()[start:])
        assert torch.equal(layout.visible(start, 2), layout.visible(window=2)[start:])


def test_a_sliding_window_counts_along_the_path():
    causal = lay_out(SmallFamily("causal"), GRID, TWO_CONTINUATIONS).visible(window=2)
    assert causal.tolist() == matrix(
        "x... .. .",
        "xx.. .. .",
        ".xx. .. .",
        "..xx .. .",
        "...x x. .",
        ".... xx .",
        "...x .. x",
    )


def test_a_sliding_window_hides_earlier_tokens_of_an_image():
    """Later ones stay visible, as in Gemma 3."""
    image = lay_out(SmallFamily("image"), GRID, TWO_CONTINUATIONS).visible(window=1)
    assert image.tolist() == matrix(
        "x... .. .",
        ".xx. .. .",
        "..x. .. .",
        "...x .. .",
        ".... x. .",
        ".... .x .",
        ".... .. x",
    )


def test_a_sliding_window_spares_a_bidirectional_prefix():
    """As in PaliGemma 2."""
    prefix = lay_out(SmallFamily("prefix"), GRID, TWO_CONTINUATIONS).visible(window=2)
    assert prefix[:4, :4].all() and not prefix[:4, 4:].any()
    assert prefix[4:].tolist() == matrix("...x x. .", ".... xx .", "...x .. x")


def test_an_unknown_attention_pattern_is_refused():
    with pytest.raises(ValueError, match="'both' is none of causal, prefix, image"):
        lay_out(SmallFamily("both"), GRID, TWO_CONTINUATIONS)


@pytest.mark.parametrize("parents", [(None, None), (None, 1), (None, 2, 0), (0, 0), (None, -1)])
def test_segments_that_are_no_tree_are_refused(parents):
    with pytest.raises(ValueError, match=r"segment \d cannot follow segment"):
        lay_out(SmallFamily(), GRID, [Segment((1,), parent) for parent in parents])


def test_a_conversation_is_a_prompt_and_its_target():
    layout = lay_out(SmallFamily(), GRID, conversation_segments(Sequence((1, IMAGE, 2, 3), 2)))
    assert layout.ids.tolist() == [1, IMAGE, 2, 3]
    assert layout.labels.tolist() == [IGNORE, IGNORE, 2, 3]


def test_a_batch_is_padded_on_the_right():
    short = conversation_segments(Sequence((IMAGE, 2), 1))
    long = conversation_segments(Sequence((IMAGE, 2, 3, 4), 2))
    batch = pad_layouts((lay_out(SmallFamily(), GRID, s) for s in (short, long)), pad_token=7)
    assert batch.ids.tolist() == [[IMAGE, 2, 7, 7], [IMAGE, 2, 3, 4]]
    assert batch.labels.tolist() == [[IGNORE, 2, IGNORE, IGNORE], [IGNORE, IGNORE, 3, 4]]
    assert batch.positions.tolist() == [[[0, 1, 0, 0]], [[0, 1, 2, 3]]]
    assert batch.is_token.tolist() == [[True, True, False, False], [True] * 4]
    assert batch.token_types["types"].tolist() == [[3, 0, 0, 0], [3, 1, 0, 0]]
    next_labels = batch.next_token_labels()
    assert next_labels.tolist() == [[2, IGNORE, IGNORE, IGNORE], [IGNORE, 3, 4, IGNORE]]


def family_of(name):
    return MAKERS[name]()[1]


def test_qwen2_vl_positions_spread_over_the_image_and_restart_behind_the_prompt():
    family = family_of("qwen2_vl")
    grid = TokenGrid((Tile(2, 3, (0, 0, 3, 2)),))
    root = Segment((1, *[family.image_token] * 6, 2))
    tails = [Segment((3, 4), parent=0, target=True), Segment((5,), parent=0, target=True)]
    layout = lay_out(family, grid, [root, *tails])
    assert layout.positions.tolist() == [
        [0, *(1, 1, 1, 1, 1, 1), 4, *(5, 6), 5],
        [0, *(1, 1, 1, 2, 2, 2), 4, *(5, 6), 5],
        [0, *(1, 2, 3, 1, 2, 3), 4, *(5, 6), 5],
    ]
    assert layout.token_types == {}
    assert not layout.visible()[10, 8:10].any()


def test_paligemma_positions_start_at_one_and_types_mark_the_target():
    family = family_of("paligemma2")
    grid = TokenGrid((Tile(1, 2, (0, 0, 2, 1)),))
    root = Segment((family.image_token, family.image_token, 2))
    tails = [Segment((3, 4), parent=0, target=True), Segment((5,), parent=0, target=True)]
    layout = lay_out(family, grid, [root, *tails])
    assert layout.positions.tolist() == [[1, 2, 3, 4, 5, 4]]
    assert layout.token_types["token_type_ids"].tolist() == [0, 0, 0, 1, 1, 1]
    assert layout.visible()[:3].tolist() == matrix("xxx ...") * 3


def test_idefics3_is_causal_with_positions_from_zero():
    family = family_of("idefics3")
    layout = lay_out(family, GRID, [Segment((family.image_token, 1)), Segment((2,), 0, True)])
    assert layout.positions.tolist() == [[0, 1, 2]]
    assert layout.token_types == {}
    assert torch.equal(layout.visible(), torch.ones(3, 3).tril().bool())

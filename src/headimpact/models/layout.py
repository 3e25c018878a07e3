"""Lays out a prompt and its continuations as one sequence of a model's inputs.

A sequence is a tree of segments: the prompt is the root, and several continuations of it can follow
each other in one sequence without seeing each other. Scoring, fine-tuning and the miniatures'
lessons all take ids, positions, labels, token types and masks from here.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import torch
from torch.nn.functional import pad
from torch.nn.utils.rnn import pad_sequence

from headimpact.models.family import Family, Sequence, TokenGrid

IGNORE = -100  # the label of a token that is not to be predicted, as torch's cross-entropy has it


@dataclass(frozen=True)
class Segment:
    """A run of tokens that continues its parent segment.

    ids: token ids. parent: index of the segment that it continues; None for the root.
    target: whether its tokens are to be predicted. All other segments are the prompt.
    """

    ids: tuple[int, ...]
    parent: int | None = None
    target: bool = False


def padding(tokens: int) -> Segment:
    """A segment of that many tokens behind the root, which fills a sequence up to some length.

    As a target it is hidden from the prompt, and from other targets, whatever the attention
    pattern; it sees the root and itself, so that no softmax is over nothing.
    """
    return Segment((0,) * tokens, parent=0, target=True)


@dataclass(frozen=True, eq=False)
class Layout:
    """One sequence, segment after segment.

    A token sees the ancestors of its segment, the tokens that precede it in its own segment, and,
    in both directions, the tokens of its block.

    ids: LongTensor (length,).
    positions: LongTensor (axes, length), position ids as on a segment's path from the root.
    labels: LongTensor (length,), a target's own token id, IGNORE for the prompt.
    is_image: BoolTensor (length,), the image's tokens.
    token_types: {input of the model: LongTensor (length,)}, as of `Family.token_types`.
    segments: LongTensor (length,), the index of each token's segment.
    depths: LongTensor (length,), how many tokens precede each one on its path from the root.
    blocks: LongTensor (length,), tokens with the same index see each other in both directions;
        -1 for tokens that are causal.
    ancestors: BoolTensor (segments, segments), [i, j] is True if segment j is i or its ancestor.
    attention_pattern: the family's.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    labels: torch.Tensor
    is_image: torch.Tensor
    token_types: dict[str, torch.Tensor]
    segments: torch.Tensor
    depths: torch.Tensor
    blocks: torch.Tensor
    ancestors: torch.Tensor
    attention_pattern: str

    def __len__(self) -> int:
        return len(self.ids)

    def path(self, segment: int) -> torch.Tensor:
        """Indices of the tokens from the root to the end of that segment, LongTensor (tokens,)."""
        return self.ancestors[segment][self.segments].nonzero()[:, 0]

    def visible(self, start: int = 0, window: int | None = None) -> torch.Tensor:
        """Which keys each query sees, BoolTensor (queries, keys); all tokens are keys.

        start: index of the first query. window: in a layer with a sliding window, how many tokens
        back a token sees, itself included.
        """
        related = self.ancestors[self.segments[start:]][:, self.segments]
        distance = self.depths[start:, None] - self.depths
        causal = related & (distance >= 0)
        block = self.blocks[start:, None]
        same_block = (block == self.blocks) & (block >= 0)
        if window is None:
            return causal | same_block
        # transformers' masks differ here: PaliGemma's window spares the block, Gemma 3's does not
        near = distance < window
        if self.attention_pattern == "prefix":
            return (causal & near) | same_block
        return (causal | same_block) & near


def lay_out(family: Family, grid: TokenGrid, segments: list[Segment]) -> Layout:
    """The Layout of `segments`, the root first and each behind its parent.

    grid: TokenGrid of the image whose tokens the root holds. Raises ValueError if the segments
    are not such a tree.
    """
    ancestors = torch.eye(len(segments), dtype=torch.bool)
    paths, positions, depths = [], [], []
    for number, segment in enumerate(segments):
        if segment.parent not in (range(number) if number else [None]):
            raise ValueError(f"segment {number} cannot follow segment {segment.parent}")
        before = paths[segment.parent] if number else ()
        if number:
            ancestors[number] |= ancestors[segment.parent]
        paths.append((*before, *segment.ids))
        # a token's position depends on nothing but its path: behind a prompt, every continuation
        # starts at the same position
        positions.append(family.positions(paths[-1], grid)[:, len(before) :])
        depths.append(torch.arange(len(before), len(paths[-1])))
    ids = torch.tensor([token for segment in segments for token in segment.ids])
    counts = torch.tensor([len(segment.ids) for segment in segments])
    segment_of = torch.arange(len(segments)).repeat_interleave(counts)
    is_target = torch.tensor([segment.target for segment in segments])[segment_of]
    is_image = ids == family.image_token
    return Layout(
        ids=ids,
        positions=torch.cat(positions, 1),
        labels=ids.masked_fill(~is_target, IGNORE),
        is_image=is_image,
        token_types=family.token_types(ids, grid, ~is_target),
        segments=segment_of,
        depths=torch.cat(depths),
        blocks=_blocks(family.attention_pattern, segments, segment_of, is_target, is_image),
        ancestors=ancestors,
        attention_pattern=family.attention_pattern,
    )


def _blocks(pattern, segments, segment_of, is_target, is_image):
    """See Layout.blocks."""
    if pattern == "causal":
        return torch.full_like(segment_of, -1)
    if pattern == "image":
        # each run of image tokens sees itself: an image that is cut into crops has several
        begins = is_image & ~pad(is_image, (1, 0))[:-1]
        return (begins.cumsum(0) - 1).masked_fill(~is_image, -1)
    if pattern == "prefix":
        # the image sees the prompt that follows it only if there is a single one: of several it
        # would mix what must not know of each other
        parents = [segment.parent for segment in segments if not segment.target]
        single = len(set(parents)) == len(parents)
        blocks = torch.zeros_like(segment_of) if single else segment_of
        return blocks.masked_fill(is_target, -1)
    raise ValueError(f"attention pattern {pattern!r} is none of causal, prefix, image")


def conversation_segments(sequence: Sequence) -> list[Segment]:
    """Prompt and target of one conversation."""
    prompt, target = sequence.ids[: sequence.start], sequence.ids[sequence.start :]
    return [Segment(prompt), Segment(target, parent=0, target=True)]


@dataclass(frozen=True, eq=False)
class LayoutBatch:
    """Several Layouts, padded on the right.

    ids, labels: LongTensor (batch, length). positions: LongTensor (batch, axes, length).
    is_token: BoolTensor (batch, length), False for padding.
    token_types: {input of the model: LongTensor (batch, length)}.
    """

    ids: torch.Tensor
    labels: torch.Tensor
    positions: torch.Tensor
    is_token: torch.Tensor
    token_types: dict[str, torch.Tensor]

    def next_token_labels(self) -> torch.Tensor:
        """For each token the label of the one that follows it, LongTensor (batch, length).

        For sequences of one continuation: with several, the token that follows in the sequence can
        be of another.
        """
        return pad(self.labels[:, 1:], (0, 1), value=IGNORE)


def pad_layouts(layouts: Iterable[Layout], pad_token: int = 0) -> LayoutBatch:
    """Layouts as a batch; padding has the id `pad_token`, position 0 and token type 0."""
    layouts = list(layouts)

    def stack(tensors, value=0):
        return pad_sequence(list(tensors), batch_first=True, padding_value=value)

    return LayoutBatch(
        ids=stack((layout.ids for layout in layouts), pad_token),
        labels=stack((layout.labels for layout in layouts), IGNORE),
        positions=stack(layout.positions.T for layout in layouts).transpose(1, 2),
        is_token=stack(torch.ones(len(layout), dtype=torch.bool) for layout in layouts),
        token_types={
            name: stack(layout.token_types[name] for layout in layouts)
            for name in layouts[0].token_types
        },
    )

"""Conversations that share a prefix, and which of these groups share a pass of the model."""

import torch

from headimpact.models.family import EncodedImage, Family, Sequence
from headimpact.models.layout import Layout, Segment, lay_out, padding

# Short passes leave a processor waiting, and padding is computed for nothing: groups share a pass
# while at most this share of its tokens is padding.
MOST_PADDING = 0.1


class PrefixGroup:
    """Conversations about one image that share a prefix.

    numbers: indices of the conversations. image: the EncodedImage. sequences: a Sequence each.
    start: number of tokens of the prefix. inputs: the token ids that the model is fed for each
    sequence. tails: what follows the prefix, each once. tail_length: number of their tokens.
    """

    def __init__(
        self,
        numbers: list[int],
        image: EncodedImage,
        sequences: list[Sequence],
        whole_prompt: bool,
        with_last_token: bool,
    ):
        """whole_prompt: the prefix is the prompt; otherwise it is as long as it can be.

        with_last_token: feed the model the last token too, from which nothing is predicted.
        """
        self.numbers, self.image, self.sequences = numbers, image, sequences
        self.inputs = [s.ids if with_last_token else s.ids[:-1] for s in sequences]
        self.start = min(s.start for s in sequences)
        if not whole_prompt:
            self.start = min(self.start, _shared_length(self.inputs))
        tails = dict.fromkeys(ids[self.start :] for ids in self.inputs)
        self.tails = [tail for tail in tails if tail]
        self.tail_length = sum(map(len, self.tails))

    def __len__(self) -> int:
        return self.start + self.tail_length

    def lay_out(self, family: Family, start: int, tail_length: int) -> Layout:
        """The prefix padded to `start` tokens, the tails behind it to `tail_length`."""
        segments = [Segment(self.inputs[0][: self.start]), padding(start - self.start)]
        segments += [Segment(tail, parent=0, target=True) for tail in self.tails]
        segments.append(padding(tail_length - self.tail_length))
        return lay_out(family, self.image.grid, segments)

    def paths(self, layout: Layout) -> list[torch.Tensor]:
        """Indices of each sequence's tokens in what `lay_out` gave, LongTensor (tokens,)."""
        segment_of = {(): 0, **{tail: number for number, tail in enumerate(self.tails, 2)}}
        return [layout.path(segment_of[ids[self.start :]]) for ids in self.inputs]


def group_by_prefix(
    family: Family,
    conversations: list[tuple[EncodedImage, Sequence]],
    with_last_token: bool,
    share: bool = True,
) -> list[PrefixGroup]:
    """The conversations in groups; with_last_token: see PrefixGroup.

    share: False makes each conversation a group of its own.
    """
    # where the image sees the prompt, image states differ from prompt to prompt, and only
    # conversations with the same prompt can share them
    whole_prompt = family.attention_pattern == "prefix"
    groups = {}
    for number, (image, sequence) in enumerate(conversations):
        prompt = sequence.ids[: sequence.start] if whole_prompt else None
        groups.setdefault((image, prompt) if share else number, []).append(number)
    return [
        PrefixGroup(
            numbers,
            conversations[numbers[0]][0],
            [conversations[number][1] for number in numbers],
            whole_prompt,
            with_last_token,
        )
        for numbers in groups.values()
    ]


def batch_by_length(groups: list[PrefixGroup]) -> list[list[PrefixGroup]]:
    """Lists of groups of similar lengths, each for one pass of the model."""
    batches, tokens = [], 0
    for group in sorted(groups, key=lambda group: (group.start, group.tail_length)):
        tokens += len(group)
        if batches:
            batch = [*batches[-1], group]
            if tokens >= (1 - MOST_PADDING) * len(batch) * sum(padded_lengths(batch)):
                batches[-1] = batch
                continue
        batches.append([group])
        tokens = len(group)
    return batches


def padded_lengths(groups: list[PrefixGroup]) -> tuple[int, int]:
    """Tokens of the longest prefix, and of the longest tails."""
    return max(group.start for group in groups), max(group.tail_length for group in groups)


def _shared_length(sequences):
    """Number of tokens at the beginning that are the same in all `sequences`."""
    columns = zip(*sequences, strict=False)
    equal = [len(set(column)) == 1 for column in columns]
    return equal.index(False) if False in equal else len(equal)

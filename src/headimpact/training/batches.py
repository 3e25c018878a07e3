"""Batches of fine-tuning: descriptions behind their images, padded, of similar lengths."""

from collections.abc import Mapping
from dataclasses import dataclass

import pandas as pd
import torch

from headimpact.models import prompts
from headimpact.models.family import Family, Sequence, TokenGrid
from headimpact.models.layout import IGNORE, conversation_segments, lay_out, pad_layouts


@dataclass(frozen=True)
class Item:
    """One description to learn, with its image's features.

    features: (image tokens, hidden). hidden: (tokens, hidden), the input of the lowest trained
    decoder layer, where the layers below it have run already.
    """

    sample_id: int
    features: torch.Tensor
    grid: TokenGrid
    sequence: Sequence
    hidden: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.sequence.ids)


def make_items(
    family: Family,
    features: Mapping[int, torch.Tensor],
    samples: pd.DataFrame,
    objects: pd.DataFrame,
) -> list[Item]:
    """The Items of those `objects` whose image is among `samples`.

    features: {sample_id: (image tokens, hidden)}.
    """
    grids = {row.sample_id: family.grid(row.width, row.height) for row in samples.itertuples()}
    return [
        Item(
            item.sample_id,
            features[item.sample_id],
            grids[item.sample_id],
            prompts.description(family, grids[item.sample_id], item.description),
        )
        for item in objects.itertuples()
        if item.sample_id in grids
    ]


class Collator:
    """Turns Items into a batch of the model's inputs; only descriptions have labels.

    few_logits: compute logits only where the next token of any of the batch's items is a
    description's: the vocabulary is the widest layer.
    """

    def __init__(self, family: Family, few_logits: bool = True):
        self.family, self.few_logits = family, few_logits

    def __call__(self, items: list[Item]) -> dict:
        """Inputs of the model's forward pass, with its `labels`, and `features` of the images.

        labels: LongTensor (batch, logits), for each logit the token that follows, or IGNORE.
        Items with `hidden` have `inputs_embeds` instead of ids and features.
        """
        family = self.family
        batch = pad_layouts(
            lay_out(family, item.grid, conversation_segments(item.sequence)) for item in items
        )
        mask = batch.is_token.long()
        if family.attention_pattern != "prefix":
            # no token sees the padding behind it, and attention is fastest without a mask
            mask = torch.ones_like(mask)
        labels = batch.next_token_labels()
        logit_columns = torch.arange(labels.shape[1])
        if self.few_logits:
            logit_columns = (labels != IGNORE).any(0).nonzero()[:, 0]
        inputs = {
            "attention_mask": mask,
            "position_ids": family.arrange_positions(batch.positions),
            "labels": labels[:, logit_columns],
            "logits_to_keep": logit_columns,
            **batch.token_types,
        }
        if items[0].hidden is None:
            return inputs | {"input_ids": batch.ids, "features": [item.features for item in items]}
        hidden = torch.nn.utils.rnn.pad_sequence([item.hidden for item in items], batch_first=True)
        return inputs | {"inputs_embeds": hidden}


def move_to_device(inputs: dict, device: torch.device) -> dict:
    """The Collator's inputs, on `device`."""
    return {
        name: [image.to(device) for image in value] if name == "features" else value.to(device)
        for name, value in inputs.items()
    }


def shuffled_batches(
    lengths: list[int], batch_size: int, by_length: bool = True
) -> list[list[int]]:
    """The batches of one epoch, indices of items, shuffled by torch's generator.

    lengths: of the items. by_length: a batch holds items of similar lengths, so that little is
    padded; the order of the batches, and which items of equal length share one, are random all the
    same. If the last batch is not full, it holds random items.
    """
    order = torch.randperm(len(lengths))
    full = len(lengths) - len(lengths) % batch_size
    batches, last = order[:full], order[full:].tolist()
    if by_length:
        batches = batches[torch.tensor(lengths)[batches].argsort(stable=True)]
    batches = batches.view(-1, batch_size)
    if by_length:
        batches = batches[torch.randperm(len(batches))]
    return [*batches.tolist(), *([last] if last else [])]


def sorted_by_length(lengths: list[int], batch_size: int) -> list[list[int]]:
    """Batches of indices of items, from the shortest item to the longest."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]

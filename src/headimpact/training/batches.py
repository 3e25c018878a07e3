"""What fine-tuning learns from: descriptions behind their image, in padded batches."""

from dataclasses import dataclass

import torch

from headimpact.models import prompts

IGNORE = -100


@dataclass(frozen=True)
class Item:
    """One description to learn: what the frozen vision tower made of its image, and the text."""

    sample_id: int
    features: torch.Tensor  # (visual tokens, hidden)
    grid: object
    sequence: object
    hidden: torch.Tensor | None = None  # (tokens, hidden): what the lowest trained layer is given

    def __len__(self):
        return len(self.sequence.ids)


def make_items(family, features, samples, objects):
    """The Items of those `objects` that lie in `samples`.

    features: {sample_id: what `Family.features` gives}.
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
    """Items to a batch, padded on the right; labels are the next tokens, of descriptions alone.

    few_logits: logits only at places where a description's token comes next in one of the batch:
    the vocabulary is the widest layer.
    """

    def __init__(self, family, few_logits=True):
        self.family, self.few_logits = family, few_logits

    def __call__(self, items):
        family, sequences = self.family, [item.sequence for item in items]
        length = max(len(sequence.ids) for sequence in sequences)
        shape = (len(items), length)
        ids, mask = torch.zeros(shape, dtype=torch.long), torch.zeros(shape, dtype=torch.long)
        labels, positions = torch.full(shape, IGNORE), []
        for row, (item, sequence) in enumerate(zip(items, sequences, strict=True)):
            n, start = len(sequence.ids), sequence.start
            tokens = torch.tensor(sequence.ids)
            ids[row, :n], mask[row, :n], labels[row, start - 1 : n - 1] = tokens, 1, tokens[start:]
            padded = sequence.ids + (0,) * (length - n)
            positions.append(family.positions(padded, item.grid))
        if not family.prompt_sees_both_ways:
            # nothing looks ahead into the padding, and attention is fastest without a mask
            mask[:] = 1
        kept = torch.arange(length)
        if self.few_logits:
            kept = (labels != IGNORE).any(0).nonzero()[:, 0]
        inputs = {
            "attention_mask": mask,
            "position_ids": family.arrange(torch.stack(positions)),
            "labels": labels[:, kept],
            "logits_to_keep": kept,
            **family.text_inputs([sequence.start for sequence in sequences], length),
        }
        if items[0].hidden is None:
            return inputs | {"input_ids": ids, "features": [item.features for item in items]}
        hidden = torch.nn.utils.rnn.pad_sequence([item.hidden for item in items], batch_first=True)
        return inputs | {"inputs_embeds": hidden}


def on_device(inputs, device):
    """What Collator gives, on `device`."""
    return {
        name: [part.to(device) for part in value] if name == "features" else value.to(device)
        for name, value in inputs.items()
    }


def drawn(lengths, batch_size, by_length=True):
    """One epoch's batches, lists of numbers of items, drawn by torch's generator.

    lengths: of the items, list of int. by_length: items of like length share a batch, so that
    little is padded; who of equal length meets whom, and the order of the batches, are drawn all
    the same. A last batch that is not full comes last.
    """
    order = torch.randperm(len(lengths))
    whole = len(lengths) - len(lengths) % batch_size
    batches, last = order[:whole], order[whole:].tolist()
    if by_length:
        batches = batches[torch.tensor(lengths)[batches].argsort(stable=True)]
    batches = batches.view(-1, batch_size)
    if by_length:
        batches = batches[torch.randperm(len(batches))]
    return [*batches.tolist(), *([last] if last else [])]


def like_lengths(lengths, batch_size):
    """Numbers of items in lists of `batch_size`, from the shortest to the longest."""
    order = sorted(range(len(lengths)), key=lengths.__getitem__)
    return [order[i : i + batch_size] for i in range(0, len(order), batch_size)]

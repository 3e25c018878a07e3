"""What a model makes of targets behind an image: log-probabilities, attention to the image."""

from dataclasses import dataclass
from functools import partial

import torch

from headimpact.guards import NotFiniteError
from headimpact.models.prefix_attention import Branches, branching


@dataclass(frozen=True)
class Scored:
    """What the model makes of one target.

    log_probabilities: float32 (target tokens,), natural logarithm over the whole vocabulary.
    attention: float32 (layers, heads, visual tokens), the attention from the target's tokens to
        each visual token, averaged over the target's tokens (section 4, Fig. 3), on the model's
        device; None unless asked for. It is the softmax over everything that a token attends to,
        not renormalised.
    """

    log_probabilities: torch.Tensor
    attention: torch.Tensor | None


@torch.no_grad()
def score(model, family, features, grid, sequences, attention=False, one_pass=True):
    """Score targets behind the same image.

    features: (visual tokens, hidden), what Family.features gives for the image.
    grid: the image's TokenGrid. sequences: list of Sequence. one_pass: whether what they share
    is computed once, with what they do not share as branches behind it.
    Returns a list of Scored, in that order. Raises FloatingPointError, naming the layer, if a
    result is not finite.
    """
    groups = {}
    for number, sequence in enumerate(sequences):
        # where the prompt sees what follows it, only one and the same prompt can be shared
        prompt = sequence.ids[: sequence.start] if family.prompt_sees_both_ways else None
        groups.setdefault(prompt if one_pass else number, []).append(number)
    scored = [None] * len(sequences)
    for numbers in groups.values():
        together = [sequences[number] for number in numbers]
        found = _score_together(model, family, features, grid, together, attention)
        for number, one in zip(numbers, found, strict=True):
            scored[number] = one
    return scored


def _score_together(model, family, features, grid, sequences, attention):
    # the last token's logits are of no use, but its attention is
    read = [s.ids if attention else s.ids[:-1] for s in sequences]
    start = min(s.start for s in sequences)
    if not family.prompt_sees_both_ways:
        start = min(start, _shared(read))
    prompt = read[0][:start]
    tails = [tail for tail in dict.fromkeys(ids[start:] for ids in read) if tail]
    begins = {tail: start + sum(map(len, tails[:i])) for i, tail in enumerate(tails)}

    def place(ids, index):
        """Where the token `index` of a sequence lies in the pass."""
        return index if index < start else begins[ids[start:]] + index - start

    places = [
        [place(ids, index) for index in range(s.start - 1, len(s.ids) - 1)]
        for ids, s in zip(read, sequences, strict=True)
    ]
    wanted = sorted(set().union(*places))
    device = model.device
    ids = torch.tensor([sum(tails, prompt)], device=device)
    positions = [family.positions((*prompt, *tail), grid)[:, start:] for tail in tails]
    positions = torch.cat([family.positions((*prompt, 0), grid)[:, :start], *positions], 1)
    branches = Branches(start, [len(tail) for tail in tails])
    if attention:
        branches.columns = (ids[0] == family.image_token).nonzero()[:, 0]
        branches.spoken = torch.zeros(len(sequences), ids.shape[1] - start, device=device)
        for row, (whole, s) in enumerate(zip(read, sequences, strict=True)):
            first = place(whole, s.start) - start
            count = len(s.ids) - s.start
            branches.spoken[row, first : first + count] = 1 / count
    run = partial(
        model,
        input_ids=ids,
        attention_mask=torch.ones_like(ids),
        position_ids=family.arrange(positions[None]).to(device),
        mm_encoder_outputs=family.encoder_outputs([features]),
        use_cache=False,
        logits_to_keep=torch.tensor(wanted, device=device),
        branches=branches,
        **{n: v.to(device) for n, v in family.text_inputs([start], ids.shape[1]).items()},
    )
    config = model.get_submodule(family.decoder).config
    with branching(config):
        logits = run().logits[0]
    row_of = {index: row for row, index in enumerate(wanted)}
    rows = torch.tensor([row_of[index] for mine in places for index in mine], device=device)
    told = torch.tensor([token for s in sequences for token in s.ids[s.start :]], device=device)
    kept = [None] * len(sequences)
    if attention:
        kept = torch.stack(branches.attention)
        if not torch.isfinite(kept).all():
            layer = int((~torch.isfinite(kept)).flatten(1).any(1).nonzero()[0])
            raise NotFiniteError(f"attention in layer {layer} is not finite")
        kept = kept.permute(2, 0, 1, 3)  # targets, layers, heads, visual tokens
    logs = logits.float().log_softmax(-1)[rows, told].cpu()
    if not torch.isfinite(logs).all():
        raise NotFiniteError("a log-probability is not finite")
    return [
        Scored(log, one)
        for log, one in zip(logs.split([len(mine) for mine in places]), kept, strict=True)
    ]


def _shared(sequences):
    """How many first tokens all `sequences` share."""
    columns = zip(*sequences, strict=False)
    alike = [len(set(column)) == 1 for column in columns]
    return alike.index(False) if False in alike else len(alike)

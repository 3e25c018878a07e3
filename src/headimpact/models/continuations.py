"""Token log-probabilities of continuations behind one image and prompt, and their attention to the
image tokens."""

from dataclasses import dataclass

import torch

from headimpact.guards import NotFiniteError
from headimpact.models.family import Family, Sequence, TokenGrid
from headimpact.models.layout import Segment, lay_out
from headimpact.models.prefix_attention import PrefixLayout, use_prefix_attention


@dataclass(frozen=True)
class ContinuationScore:
    """Log-probabilities and attention of one continuation.

    log_probabilities: float32 (target tokens,), natural logarithm over the vocabulary.
    attention: float32 (layers, heads, image tokens), the attention from the target's tokens to
        each image token, averaged over the target's tokens (section 4, Fig. 3), on the model's
        device; None unless asked for. It is the softmax over everything that a token sees, and
        is not renormalised over the image.
    """

    log_probabilities: torch.Tensor
    attention: torch.Tensor | None


@torch.no_grad()
def score_continuations(
    model: torch.nn.Module,
    family: Family,
    features: torch.Tensor,
    grid: TokenGrid,
    sequences: list[Sequence],
    attention: bool = False,
    one_pass: bool = True,
) -> list[ContinuationScore]:
    """Score the targets of conversations about the same image.

    features: (image tokens, hidden), as `Family.features` gives for the image. grid: the image's
    TokenGrid. attention: whether to return it. one_pass: compute the prefix that the sequences
    share once, with their continuations behind it, instead of one pass for each sequence.
    Returns the scores in the order of `sequences`. Raises NotFiniteError, naming the layer, if
    an attention weight or a log-probability is not finite.
    """
    groups = {}
    for number, sequence in enumerate(sequences):
        # where the image sees the prompt, image states differ from prompt to prompt, and only
        # sequences with the same prompt can share them
        shares_prompt_only = family.attention_pattern == "prefix"
        prompt = sequence.ids[: sequence.start] if shares_prompt_only else None
        groups.setdefault(prompt if one_pass else number, []).append(number)
    scores = [None] * len(sequences)
    for numbers in groups.values():
        group = [sequences[number] for number in numbers]
        group_scores = _score_group(model, family, features, grid, group, attention)
        for number, score in zip(numbers, group_scores, strict=True):
            scores[number] = score
    return scores


def _score_group(model, family, features, grid, sequences, attention):
    """The scores of sequences that share a prefix, from one pass of the model."""
    # the last token is fed for its attention only: nothing is predicted from it
    inputs = [s.ids if attention else s.ids[:-1] for s in sequences]
    start = min(s.start for s in sequences)
    if family.attention_pattern != "prefix":
        start = min(start, _shared_length(inputs))
    tails = [tail for tail in dict.fromkeys(ids[start:] for ids in inputs) if tail]
    segments = [Segment(inputs[0][:start])]
    segments += [Segment(tail, parent=0, target=True) for tail in tails]
    layout = lay_out(family, grid, segments)
    segment_of = {(): 0, **{tail: number for number, tail in enumerate(tails, 1)}}
    paths = [layout.path(segment_of[ids[start:]]) for ids in inputs]
    # a token is predicted from the one before it on its path
    sources = [path[s.start - 1 : len(s.ids) - 1] for path, s in zip(paths, sequences, strict=True)]
    logit_rows, row_of_token = torch.cat(sources).unique(return_inverse=True)
    device = model.device
    prefix = PrefixLayout(layout, start)
    if attention:
        prefix.image_columns = layout.is_image.nonzero()[:, 0].to(device)
        weights = torch.zeros(len(sequences), len(layout) - start)
        for row, path, s in zip(weights, paths, sequences, strict=True):
            row[path[s.start :] - start] = 1 / (len(s.ids) - s.start)
        prefix.target_weights = weights.to(device)
    ids = layout.ids[None].to(device)
    with use_prefix_attention(model.get_submodule(family.decoder).config):
        logits = model(
            input_ids=ids,
            attention_mask=torch.ones_like(ids),
            position_ids=family.arrange_positions(layout.positions[None]).to(device),
            mm_encoder_outputs=family.encoder_outputs([features]),
            use_cache=False,
            logits_to_keep=logit_rows.to(device),
            prefix_layout=prefix,
            **{name: types[None].to(device) for name, types in layout.token_types.items()},
        ).logits[0]
    target_ids = torch.tensor([token for s in sequences for token in s.ids[s.start :]])
    logs = logits.float().log_softmax(-1)[row_of_token.to(device), target_ids.to(device)].cpu()
    weights = _stack_attention(prefix.attention) if attention else [None] * len(sequences)
    if not torch.isfinite(logs).all():
        raise NotFiniteError("a log-probability is not finite")
    logs = logs.split([len(s.ids) - s.start for s in sequences])
    return [ContinuationScore(*score) for score in zip(logs, weights, strict=True)]


def _stack_attention(layers):
    """Attention of all layers, float32 (continuations, layers, heads, image tokens)."""
    attention = torch.stack(layers)
    finite = torch.isfinite(attention).flatten(1).all(1)
    if not finite.all():
        layer = int((~finite).nonzero()[0])
        raise NotFiniteError(f"attention in layer {layer} is not finite")
    return attention.permute(2, 0, 1, 3)


def _shared_length(sequences):
    """Number of tokens at the beginning that are the same in all `sequences`."""
    columns = zip(*sequences, strict=False)
    equal = [len(set(column)) == 1 for column in columns]
    return equal.index(False) if False in equal else len(equal)

"""Token log-probabilities of continuations behind an image and a prompt, and their attention to the
image tokens."""

from dataclasses import dataclass

import torch

from headimpact.guards import NotFiniteError, naming_image
from headimpact.models.family import EncodedImage, Family, Sequence
from headimpact.models.prefix_attention import PrefixLayout, use_prefix_attention
from headimpact.models.prefix_groups import batch_by_length, group_by_prefix, padded_lengths


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
    conversations: list[tuple[EncodedImage, Sequence]],
    attention: bool = False,
    one_pass: bool = True,
) -> list[ContinuationScore]:
    """Score the targets of conversations about one or several images.

    attention: whether to return it. one_pass: compute the prefix that the conversations about an
    image share once, with their continuations behind it, and images of similar lengths in one
    pass; False takes a pass for each conversation.
    Returns the scores in the order of `conversations`. Raises NotFiniteError, naming the image and
    the layer, if an attention weight or a log-probability is not finite.
    """
    # the last token is fed for its attention only
    groups = group_by_prefix(family, conversations, with_last_token=attention, share=one_pass)
    batches = batch_by_length(groups) if one_pass else [[group] for group in groups]
    scores = [None] * len(conversations)
    for batch in batches:
        batch_scores = _score_batch(model, family, batch, attention)
        numbers = (number for group in batch for number in group.numbers)
        for number, score in zip(numbers, batch_scores, strict=True):
            scores[number] = score
    return scores


def _score_batch(model, family, groups, attention):
    """The scores of the conversations of all `groups`, from one pass of the model."""
    start, tail_length = padded_lengths(groups)
    layouts = [group.lay_out(family, start, tail_length) for group in groups]
    paths = [group.paths(layout) for group, layout in zip(groups, layouts, strict=True)]
    device = model.device
    prefix = PrefixLayout(layouts, start)
    if attention:
        prefix.image_columns = [layout.is_image.nonzero()[:, 0].to(device) for layout in layouts]
        prefix.target_weights = [
            _target_weights(group.sequences, group_paths, start, tail_length).to(device)
            for group, group_paths in zip(groups, paths, strict=True)
        ]
    # a token is predicted from the one before it on its path; its place is counted through all
    # sequences of the batch
    sources = [
        row * len(layouts[row]) + path[s.start - 1 : len(s.ids) - 1]
        for row, group in enumerate(groups)
        for path, s in zip(paths[row], group.sequences, strict=True)
    ]
    places, row_of_token = torch.cat(sources).unique(return_inverse=True)
    features = [group.image.features for group in groups]
    logits = _logits(model, family, features, prefix, places)
    sequences = [sequence for group in groups for sequence in group.sequences]
    target_ids = torch.tensor([token for s in sequences for token in s.ids[s.start :]])
    logs = logits.float().log_softmax(-1)[row_of_token.to(device), target_ids.to(device)].cpu()
    logs = iter(logs.split([len(s.ids) - s.start for s in sequences]))
    scores = []
    for row, group in enumerate(groups):
        weights = [None] * len(group.sequences)
        with naming_image(group.image):
            if attention:
                weights = _stack_attention([layer[row] for layer in prefix.attention])
            scores += [ContinuationScore(_check_finite(next(logs)), w) for w in weights]
    return scores


def _logits(model, family, features, prefix, places):
    """Logits at `places`, indices of tokens counted through the whole batch; (places, vocabulary).

    features: of each image.
    """
    layouts, device = prefix.layouts, model.device
    ids = torch.stack([layout.ids for layout in layouts])
    positions = torch.stack([layout.positions for layout in layouts])
    has_logits = torch.zeros(ids.numel(), dtype=torch.bool)
    has_logits[places] = True
    types = {
        name: torch.stack([layout.token_types[name] for layout in layouts]).to(device)
        for name in layouts[0].token_types
    }
    with use_prefix_attention(model.get_submodule(family.decoder).config):
        return model(
            input_ids=ids.to(device),
            # padding is hidden as another continuation is, not by this mask
            attention_mask=torch.ones_like(ids, device=device),
            position_ids=family.arrange_positions(positions).to(device),
            mm_encoder_outputs=family.encoder_outputs(features),
            use_cache=False,
            # a mask of the batch selects tokens of each sequence; the logits come flat
            logits_to_keep=has_logits.view_as(ids).to(device),
            prefix_layout=prefix,
            **types,
        ).logits


def _target_weights(sequences, paths, start, tail_length):
    """See PrefixLayout.target_weights."""
    weights = torch.zeros(len(sequences), tail_length)
    for row, path, s in zip(weights, paths, sequences, strict=True):
        row[path[s.start :] - start] = 1 / (len(s.ids) - s.start)
    return weights


def _stack_attention(layers):
    """Attention of all layers, float32 (continuations, layers, heads, image tokens)."""
    attention = torch.stack(layers)
    finite = torch.isfinite(attention).flatten(1).all(1)
    if not finite.all():
        layer = int((~finite).nonzero()[0])
        raise NotFiniteError(f"attention in layer {layer} is not finite")
    return attention.permute(2, 0, 1, 3)


def _check_finite(logs):
    """The log-probabilities, if they are finite."""
    if not torch.isfinite(logs).all():
        raise NotFiniteError("a log-probability is not finite")
    return logs

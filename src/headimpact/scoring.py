"""Image and prompt once, then all continuations on that cache: log-probabilities, attention."""

from contextlib import contextmanager, nullcontext
from dataclasses import dataclass

import torch


@dataclass(frozen=True)
class Scored:
    """What the model makes of one target.

    log_probabilities: float32 (target tokens,), natural logarithm over the whole vocabulary.
    attention: float32 (layers, heads, visual tokens), the attention from the target's tokens to
        each visual token, averaged over the target's tokens (section 4, Fig. 3); None unless
        asked for. It is the softmax over everything that a token attends to, not renormalised.
    """

    log_probabilities: torch.Tensor
    attention: torch.Tensor | None


@torch.no_grad()
def score(model, family, features, grid, sequences, attention=False):
    """Score targets that follow the same image and prompt.

    features: (visual tokens, hidden), what Family.features gives for the image.
    grid: the image's TokenGrid. sequences: list of Sequence, alike before their targets.
    Returns a list of Scored, in that order. Raises ValueError if the prompts differ, and
    FloatingPointError if a result is not finite.
    """
    first = sequences[0]
    start = first.start
    prefix = first.ids[:start]
    if any(s.start != start or s.ids[:start] != prefix for s in sequences):
        raise ValueError("the sequences do not share the prompt before their targets")
    device, count = model.device, len(sequences)
    lengths = [len(s.ids) - start for s in sequences]
    longest = max(lengths)
    ids = torch.zeros(count, longest, dtype=torch.long)
    mask = torch.zeros(count, start + longest, dtype=torch.long)
    mask[:, :start] = 1
    for row, sequence in enumerate(sequences):
        ids[row, : lengths[row]] = torch.tensor(sequence.ids[start:])
        mask[row, start : start + lengths[row]] = 1
    positions = family.positions(prefix + (0,) * longest, grid)
    ids, mask, positions = ids.to(device), mask.to(device), positions.to(device)

    beginning = model(
        input_ids=torch.tensor([prefix], device=device),
        attention_mask=mask[:1, :start],
        position_ids=family.arrange(positions[None, :, :start]),
        mm_encoder_outputs=family.encoder_outputs([features]),
        use_cache=True,
        logits_to_keep=1,
        **{name: value.to(device) for name, value in family.prefix_inputs(start).items()},
    )
    logits = beginning.logits.expand(count, -1, -1)
    attended = [None] * count
    if attention or longest > 1:
        cache = beginning.past_key_values
        cache.batch_repeat_interleave(count)
        with _eager(model, family) if attention else nullcontext():
            ending = model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=family.arrange(positions[None, :, start:].expand(count, -1, -1)),
                past_key_values=cache,
                use_cache=True,
                output_attentions=attention,
            )
        logits = torch.cat([logits, ending.logits[:, :-1]], 1)
        if attention:
            visual = torch.tensor(prefix, device=device) == family.image_token
            attended = _mean_attention(ending.attentions, visual, lengths)
    logs = logits.float().log_softmax(-1).gather(-1, ids[..., None])[..., 0].cpu()
    scored = [
        Scored(log[:length], row) for log, length, row in zip(logs, lengths, attended, strict=True)
    ]
    for one in scored:
        _check_finite(one)
    return scored


def _mean_attention(attentions, visual, lengths):
    """Rows of the targets' tokens, columns of the visual tokens, averaged over the rows."""
    means = []
    columns = visual.nonzero()[:, 0]
    layers = [layer[..., columns].float() for layer in attentions]
    for row, length in enumerate(lengths):
        means.append(torch.stack([layer[row, :, :length].mean(1) for layer in layers]).cpu())
    return means


def _check_finite(scored):
    if not torch.isfinite(scored.log_probabilities).all():
        raise FloatingPointError("a log-probability is not finite")
    if scored.attention is not None:
        bad = (~torch.isfinite(scored.attention)).any(-1).any(-1).nonzero()
        if len(bad):
            raise FloatingPointError(f"attention in layer {int(bad[0, 0])} is not finite")


@contextmanager
def _eager(model, family):
    """The decoder in the one implementation that gives its attention out."""
    config = model.get_submodule(family.decoder).config
    before = config._attn_implementation
    config._attn_implementation = "eager"
    try:
        yield
    finally:
        config._attn_implementation = before

"""Attention of several continuations behind one prompt, all in one pass of the model.

A sequence is laid out as the prompt and, behind it, branch after branch; a branch sees the prompt
and itself. The prompt's rows take the model's fastest attention, as if no branch were there. The
branches' few rows are computed in full, so that their attention can be kept, too.
"""

from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from transformers import AttentionInterface, AttentionMaskInterface
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask, sdpa_mask


@dataclass
class Branches:
    """How a sequence is laid out, and, layer by layer, the attention kept of it.

    start: length of the prompt. lengths: those of the branches. columns: LongTensor, the visual
    tokens' places; None keeps no attention. spoken: float (kept rows, branch tokens), how much
    each branch token counts in a kept row.
    """

    start: int
    lengths: list
    columns: torch.Tensor | None = None
    spoken: torch.Tensor | None = None
    attention: list = field(default_factory=list)  # a layer: float32 (heads, kept rows, columns)
    _masks: dict = field(default_factory=dict)

    def mask(self, like, window=None):
        """What the branches' tokens attend to, (branch tokens, all tokens): 0, or else the least.

        like: tensor whose dtype and device it takes. window: how many tokens back a layer sees,
        where it has a sliding window.
        """
        if window not in self._masks:
            hidden = ~self.visible(window)
            mask = torch.zeros(hidden.shape, dtype=like.dtype)
            mask = mask.masked_fill(hidden, torch.finfo(like.dtype).min)
            self._masks[window] = mask.to(like.device)
        return self._masks[window]

    def visible(self, window=None):
        """bool (branch tokens, all tokens): whether one attends to the other."""
        counts = torch.tensor(self.lengths)
        branch = torch.arange(len(counts)).repeat_interleave(counts)
        place = torch.cat([torch.arange(n) for n in self.lengths]) + self.start
        before = torch.cat([torch.full((self.start,), -1), branch])
        back = place[:, None] - torch.cat([torch.arange(self.start), place])
        related = (before == -1) | (before == branch[:, None])
        return related & (back >= 0) & (back < (window or len(before)))


def _forward(
    module,
    query,
    key,
    value,
    attention_mask,
    *,
    prompt,
    branches,
    scaling,
    softcap=None,
    sliding_window=None,
    **_others,
):
    """transformers' attention interface: query (1, heads, length, size), keys and values alike."""
    start = branches.start
    mask = None if attention_mask is None else attention_mask[..., :start, :start]
    beginning = (part[:, :, :start] for part in (query, key, value))
    if prompt == "sdpa":
        output, _ = sdpa_attention_forward(module, *beginning, mask, scaling=scaling)
    else:
        output, _ = _weigh(*beginning, mask, scaling, softcap)
    if branches.lengths:
        mask = branches.mask(query, sliding_window)
        behind, weights = _weigh(query[:, :, start:], key, value, mask, scaling, softcap)
        output = torch.cat([output, behind], 1)
        if branches.columns is not None:
            branches.attention.append(branches.spoken @ weights[0, ..., branches.columns])
    return output, None


def _weigh(query, key, value, mask, scaling, softcap):
    """Attention in full, as the models' own eager attention: output, and float32 weights by head.

    In place, since no gradient is wanted and scores are the largest tensor of a layer.
    """
    groups, rows = query.shape[1] // key.shape[1], query.shape[2]
    # the query heads of a group share their keys: no copies of those
    query = query.unflatten(1, (-1, groups)).flatten(2, 3)
    scores = (query @ key.transpose(2, 3)).unflatten(2, (groups, rows)).flatten(1, 2)
    if softcap is None:
        scores *= scaling
    else:
        scores.mul_(scaling).div_(softcap).tanh_().mul_(softcap)
    if mask is not None:
        scores += mask
    weights = torch.softmax(scores, -1, dtype=torch.float32)
    output = weights.to(value.dtype).unflatten(1, (-1, groups)).flatten(2, 3) @ value
    return output.unflatten(2, (groups, rows)).flatten(1, 2).transpose(1, 2), weights


# a name for each attention that a prompt can take: the models here have one of the two
for _prompt, _mask in (("sdpa", sdpa_mask), ("eager", eager_mask)):
    AttentionInterface.register(f"branches_{_prompt}", partial(_forward, prompt=_prompt))
    AttentionMaskInterface.register(f"branches_{_prompt}", _mask)


@contextmanager
def branching(config):
    """Within it, a decoder of that configuration takes `branches=` and attends by them."""
    before = config._attn_implementation
    config._attn_implementation = f"branches_{before}"
    try:
        yield
    finally:
        config._attn_implementation = before

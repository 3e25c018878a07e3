"""Attention of branches behind one prefix, each without some of its image reads.

A branch repeats the text behind the image, so many interventions on one sequence share the image's
part of a single pass. The branches' scores against the prefix are computed from one copy of its
keys, and no branch has scores against another: memory grows linearly with the branches.
"""

from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import torch
from transformers import AttentionInterface, AttentionMaskInterface

from headimpact.models.layout import Layout
from headimpact.models.prefix_attention import attend, attention_scores, weigh_values

# How an image read is taken away. "renormalise" hides the image token before the softmax, so that
# the remaining weights grow. "zero" sets the weight to 0 after it. "mean" does so as well, and
# adds the lost weight times the mean value of the image's tokens.
Variant = Literal["renormalise", "zero", "mean"]


@dataclass
class Branches:
    """Branches of one sequence behind its prefix, and the image reads that each of them loses.

    layout: Layout of the plain sequence. start: number of its tokens in the prefix. text_start:
    index of the first token behind the image; a branch consists of the tokens from there on, and
    sees the prefix up to there. heads: BoolTensor (layers, heads, branches), where reads are taken
    away. reads: BoolTensor (branches, tokens of a branch, text_start), which are. variant: how.
    """

    layout: Layout
    start: int
    text_start: int
    heads: torch.Tensor
    reads: torch.Tensor
    variant: Variant
    _masks: dict = field(default_factory=dict)

    def prefix_mask(
        self, like: torch.Tensor, window: int | None, implementation: str
    ) -> tuple[torch.Tensor | None, bool]:
        """Additive mask of the prefix's rows, (prefix, prefix), and whether SDPA is causal.

        The mask is None where attention is either full or causal without one. It is of the dtype
        and on the device of `like`. window: the layer's sliding window.
        """
        if self.layout.attention_pattern == "prefix":
            # the prefix is the prompt, which sees all of itself whatever the window
            return None, False
        is_causal = self.layout.attention_pattern == "causal"
        if is_causal and implementation == "sdpa" and (window is None or window >= self.start):
            return None, True
        if ("prefix", window) not in self._masks:
            visible = self.layout.visible(window=window)[: self.start, : self.start]
            self._masks["prefix", window] = _additive(visible, like)
        return self._masks["prefix", window], False

    def branch_mask(self, like: torch.Tensor, window: int | None) -> torch.Tensor:
        """Additive mask of a branch, (tokens of a branch, text_start + tokens of a branch)."""
        if window not in self._masks:
            self._masks[window] = _additive(self.layout.visible(self.text_start, window), like)
        return self._masks[window]


def _additive(visible, like):
    """0 where a key is visible, the dtype's minimum where it is hidden."""
    mask = torch.zeros(visible.shape, dtype=like.dtype)
    return mask.masked_fill(~visible, torch.finfo(like.dtype).min).to(like.device)


def _intervened_attention(
    module,
    query,
    key,
    value,
    _attention_mask,
    *,
    implementation,
    branches,
    scaling,
    softcap=None,
    sliding_window=None,
    **_kwargs,
):
    """transformers' attention interface: query (1, heads, length, size), keys and values alike.

    implementation: how the prefix's rows are computed, "sdpa" or "eager". Returns the output,
    (1, length, heads, size), and no weights.
    """
    start = branches.start
    mask, is_causal = branches.prefix_mask(query, sliding_window, implementation)
    prefix = (states[:, :, :start] for states in (query, key, value))
    output = attend(module, *prefix, mask, implementation, scaling, softcap, is_causal)
    mask = branches.branch_mask(query, sliding_window)
    heads = branches.heads[module.layer_idx]
    rows = _attend_in_branches(branches, heads, query, key, value, mask, scaling, softcap)
    return torch.cat([output, rows], 1), None


def _attend_in_branches(branches, heads, query, key, value, mask, scaling, softcap):
    """Output of the branches' rows, (1, branches x tokens of a branch, heads, size).

    heads: BoolTensor (heads, branches), where this layer's reads are taken away.
    """
    visible, count = branches.text_start, heads.shape[1]
    query, own_key, own_value = (
        states[:, :, branches.start :].unflatten(2, (count, -1)) for states in (query, key, value)
    )
    key, value = key[:, :, :visible], value[:, :, :visible]
    shared = attention_scores(query.flatten(2, 3), key, scaling, softcap)[0]
    # within the branches, a branch is an element of the batch
    own = attention_scores(*(s[0].transpose(0, 1) for s in (query, own_key)), scaling, softcap)
    # (heads, branches, tokens of a branch, keys)
    scores = torch.cat([shared.unflatten(1, (count, -1)), own.transpose(0, 1)], -1)
    del shared, own
    scores += mask
    removed = heads[:, :, None, None] & branches.reads if heads.any() else None
    if removed is not None and branches.variant == "renormalise":
        scores[..., :visible].masked_fill_(removed, torch.finfo(scores.dtype).min)
    weights = torch.softmax(scores, -1, dtype=torch.float32)
    lost = None
    if removed is not None and branches.variant != "renormalise":
        if branches.variant == "mean":
            lost = (weights[..., :visible] * removed).sum(-1, keepdim=True)
        weights[..., :visible].masked_fill_(removed, 0)
    output = weigh_values(weights[None, ..., :visible].flatten(2, 3), value)[0]
    output = output.unflatten(1, (count, -1))
    output += weigh_values(
        weights[..., visible:].transpose(0, 1), own_value[0].transpose(0, 1)
    ).transpose(0, 1)
    if lost is not None:
        mean = value[0, :, branches.layout.is_image[:visible].to(value.device)].mean(1)
        mean = mean.repeat_interleave(len(output) // len(mean), 0)
        output += lost.to(output.dtype) * mean[:, None, None]
    return output.flatten(1, 2).transpose(0, 1)[None]


def _no_mask(*_arguments, **_inputs):
    """A mask of all tokens would grow with the square of the branches; `Branches` has what is
    needed."""


for _name in ("sdpa", "eager"):
    AttentionInterface.register(
        f"intervened_{_name}", partial(_intervened_attention, implementation=_name)
    )
    AttentionMaskInterface.register(f"intervened_{_name}", _no_mask)

"""Shared-prefix attention: several continuations of one prefix in a single pass of the model.

A pass is a batch of such sequences, each with a prefix of its own. The prefix's rows use the
model's fastest attention, as if nothing followed. The few rows behind it are computed in full, with
a mask that hides the continuations from each other, so that their attention weights can be
collected as well.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import partial

import torch
from transformers import AttentionInterface, AttentionMaskInterface, PreTrainedConfig
from transformers.integrations.sdpa_attention import sdpa_attention_forward
from transformers.masking_utils import eager_mask, sdpa_mask

from headimpact.models.layout import Layout


@dataclass
class PrefixLayout:
    """A batch of sequences whose continuations share a prefix, and the attention collected.

    layouts: a Layout for each sequence, all of the same length, the prefix first. start: number of
        tokens of the prefix, with its padding.
    image_columns: for each sequence LongTensor (image tokens,), their indices; None collects no
        attention.
    target_weights: for each sequence float32 (continuations, tokens behind the prefix), the weight
        of each token in a continuation's mean over its target.
    attention: filled layer by layer with a list: for each sequence float32 (heads, continuations,
        image tokens).
    """

    layouts: list[Layout]
    start: int
    image_columns: list[torch.Tensor] | None = None
    target_weights: list[torch.Tensor] | None = None
    attention: list[list[torch.Tensor]] = field(default_factory=list)
    _masks: dict = field(default_factory=dict)

    def additive_mask(self, like: torch.Tensor, window: int | None = None) -> torch.Tensor:
        """Mask of the rows behind the prefix, (batch, 1, tokens behind the prefix, all tokens).

        0 where a key is visible, the dtype's minimum where it is hidden; of the dtype and on the
        device of `like`. window: the layer's sliding window, see `Layout.visible`.
        """
        if window not in self._masks:
            visible = [layout.visible(self.start, window) for layout in self.layouts]
            hidden = ~torch.stack(visible)[:, None]
            mask = torch.zeros(hidden.shape, dtype=like.dtype)
            mask = mask.masked_fill(hidden, torch.finfo(like.dtype).min)
            self._masks[window] = mask.to(like.device)
        return self._masks[window]

    def collect(self, weights: torch.Tensor) -> None:
        """Add a layer to `attention`; weights: float32 (batch, heads, rows, all tokens).

        The rows are those behind the prefix.
        """
        sequences = zip(weights, self.image_columns, self.target_weights, strict=True)
        self.attention.append([means @ rows[..., image] for rows, image, means in sequences])


def _prefix_attention(
    module,
    query,
    key,
    value,
    attention_mask,
    *,
    implementation,
    prefix_layout,
    scaling,
    softcap=None,
    sliding_window=None,
    **_kwargs,
):
    """transformers' attention interface: query (batch, heads, length, size), keys and values alike.

    implementation: how the prefix's rows are computed, "sdpa" or "eager". Returns the output,
    (batch, length, heads, size), and no weights: those asked for are collected in `prefix_layout`.
    """
    start = prefix_layout.start
    mask = None if attention_mask is None else attention_mask[..., :start, :start]
    prefix = (states[:, :, :start] for states in (query, key, value))
    output = attend(module, *prefix, mask, implementation, scaling, softcap)
    if start < query.shape[2]:
        mask = prefix_layout.additive_mask(query, sliding_window)
        rows, weights = _eager_attention(query[:, :, start:], key, value, mask, scaling, softcap)
        output = torch.cat([output, rows], 1)
        if prefix_layout.image_columns is not None:
            prefix_layout.collect(weights)
    return output, None


def attend(
    module, query, key, value, mask, implementation, scaling, softcap=None, is_causal=None
) -> torch.Tensor:
    """Attention as the model itself computes it, (batch, length, heads, size).

    implementation: "sdpa" or "eager". mask: additive, or None. is_causal: whether SDPA without a
    mask is causal; None leaves it to `module`. Raises ValueError for SDPA with a softcap.
    """
    if implementation == "eager":
        return _eager_attention(query, key, value, mask, scaling, softcap)[0]
    if softcap is not None:
        raise ValueError("SDPA would ignore the softcap of attention scores; use eager attention")
    states = query, key, value
    return sdpa_attention_forward(module, *states, mask, scaling=scaling, is_causal=is_causal)[0]


def _eager_attention(query, key, value, mask, scaling, softcap):
    """Attention as in the models' own eager implementation.

    Returns the output, (batch, rows, heads, size), and float32 weights, (batch, heads, rows,
    keys).
    """
    scores = attention_scores(query, key, scaling, softcap)
    if mask is not None:
        scores += mask
    weights = torch.softmax(scores, -1, dtype=torch.float32)
    return weigh_values(weights, value).transpose(1, 2), weights


def attention_scores(
    query: torch.Tensor, key: torch.Tensor, scaling: float, softcap: float | None
) -> torch.Tensor:
    """Scores before mask and softmax, (batch, heads, rows, keys).

    query: (batch, heads, rows, size). key: (batch, key heads, keys, size). Works in place: no
    gradient is needed, and the scores are the largest tensor of a layer.
    """
    groups, rows = query.shape[1] // key.shape[1], query.shape[2]
    # the query heads of a group share their keys: the keys are not copied for each of them
    query = query.unflatten(1, (-1, groups)).flatten(2, 3)
    scores = (query @ key.transpose(2, 3)).unflatten(2, (groups, rows)).flatten(1, 2)
    if softcap is None:
        return scores.mul_(scaling)
    return scores.mul_(scaling).div_(softcap).tanh_().mul_(softcap)


def weigh_values(weights: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """The values' sum under attention weights, (batch, heads, rows, size).

    weights: (batch, heads, rows, keys). value: (batch, key heads, keys, size).
    """
    groups, rows = weights.shape[1] // value.shape[1], weights.shape[2]
    weights = weights.to(value.dtype).unflatten(1, (-1, groups)).flatten(2, 3)
    return (weights @ value).unflatten(2, (groups, rows)).flatten(1, 2)


# one name for each implementation that the prefix's rows can have: transformers builds the mask
# that belongs to it
for _name, _mask in (("sdpa", sdpa_mask), ("eager", eager_mask)):
    AttentionInterface.register(f"prefix_{_name}", partial(_prefix_attention, implementation=_name))
    AttentionMaskInterface.register(f"prefix_{_name}", _mask)


@contextmanager
def use_prefix_attention(config: PreTrainedConfig, kind: str = "prefix") -> Iterator[None]:
    """Within it, a decoder with that configuration takes `prefix_layout=` in its forward pass.

    kind: "prefix", or how the names begin under which another module registers its attention.
    """
    before = config._attn_implementation
    config._attn_implementation = f"{kind}_{before}"
    try:
        yield
    finally:
        config._attn_implementation = before

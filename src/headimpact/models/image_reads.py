"""Image reads: the attention of the text to the image, head by head, blocked or recorded.

Works with plain hooks on a decoder that gets a mask in its forward pass, so that gradients pass.
"""

from collections.abc import Iterator
from contextlib import contextmanager

import torch

from headimpact.models.family import Family


@contextmanager
def block_image_reads(
    model: torch.nn.Module, family: Family, blocked: torch.Tensor
) -> Iterator[None]:
    """Within it, the text gives the image no attention in the blocked heads.

    blocked: BoolTensor (layers, heads). What is left of a head's attention is renormalised, since
    the image is hidden before the softmax. Image tokens see each other in every head. The model
    has to be called with an additive mask, float (batch, 1, query, key).
    """
    reads = None

    def find_reads(_model, _arguments, inputs):
        nonlocal reads
        reads = _image_reads(family, inputs)

    def hide_image(heads):
        def hook(_attention, arguments, inputs):
            mask = inputs["attention_mask"]
            hidden = reads & heads[None, :, None, None]
            mask = mask.masked_fill(hidden, torch.finfo(mask.dtype).min)
            return arguments, {**inputs, "attention_mask": mask}

        return hook

    layers = model.get_submodule(family.decoder).layers
    hooks = [model.register_forward_pre_hook(find_reads, with_kwargs=True)]
    for layer, heads in zip(layers, blocked, strict=True):
        if heads.any():
            hook = hide_image(heads)
            hooks.append(layer.self_attn.register_forward_pre_hook(hook, with_kwargs=True))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


@contextmanager
def record_image_mass(model: torch.nn.Module, family: Family) -> Iterator[list[torch.Tensor]]:
    """Yields a list that a forward pass fills: each layer's mean image mass, float (heads,).

    A head's image mass is the share of a text token's attention that goes to the image, averaged
    over the text tokens that can see the image. The model has to be called with an additive mask,
    float (batch, 1, query, key), and uses eager attention within the context.
    """
    masses, reads = [], None

    def find_reads(_model, _arguments, inputs):
        nonlocal reads
        reads = _image_reads(family, inputs)

    def record(_attention, _inputs, output):
        masses.append((output[1] * reads).sum((0, 2, 3)) / reads.any(-1).sum())

    decoder = model.get_submodule(family.decoder)
    config = decoder.config
    before, config._attn_implementation = config._attn_implementation, "eager"
    hooks = [model.register_forward_pre_hook(find_reads, with_kwargs=True)]
    for layer in decoder.layers:
        hooks.append(layer.self_attn.register_forward_hook(record))
    try:
        yield masses
    finally:
        config._attn_implementation = before
        for hook in hooks:
            hook.remove()


def _image_reads(family: Family, inputs: dict) -> torch.Tensor:
    """Which tokens of the text see which of the image, bool (batch, 1, query, key)."""
    is_image = inputs["input_ids"] == family.image_token
    visible = inputs["attention_mask"] == 0
    return visible & ~is_image[:, None, :, None] & is_image[:, None, None, :]

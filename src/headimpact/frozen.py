"""The decoder layers below the lowest trained one: what they make of a text is always the same."""

from contextlib import contextmanager
from dataclasses import replace

import torch
from tqdm import tqdm

from headimpact.batches import Collator, like_lengths


def decoder_layers(model, family):
    return model.get_submodule(family.decoder).layers


@contextmanager
def handing_on(model, family, layers):
    """Within it, these decoder layers (a slice) hand on what they are given, and compute nothing.

    A model whose lowest layers do so takes an Item's `hidden` as its `inputs_embeds`.
    """
    chosen = decoder_layers(model, family)[layers]
    for layer in chosen:
        layer.forward = lambda hidden_states, *_args, **_others: hidden_states
    try:
        yield
    finally:
        for layer in chosen:
            del layer.forward


@torch.no_grad()
def keep_states(model, family, items, below, batch_size):
    """`items` with what decoder layer `below` is given of each, held in the CPU's memory.

    items: list of Item. All layers below that one are frozen.
    """
    layer, collate, seen, kept = decoder_layers(model, family)[below], Collator(family), [], {}
    hook = layer.register_forward_pre_hook(lambda _layer, arguments: seen.append(arguments[0]))
    try:
        with handing_on(model, family, slice(below, None)):
            for numbers in tqdm(like_lengths([*map(len, items)], batch_size), desc="frozen layers"):
                inputs = collate([items[number] for number in numbers])
                del inputs["labels"], inputs["logits_to_keep"]
                features = [part.to(model.device) for part in inputs.pop("features")]
                inputs = {name: value.to(model.device) for name, value in inputs.items()}
                outputs = family.encoder_outputs(features)
                model(**inputs, mm_encoder_outputs=outputs, use_cache=False, logits_to_keep=1)
                for number, row in zip(numbers, seen.pop(), strict=True):
                    kept[number] = row[: len(items[number])].to("cpu", copy=True)
    finally:
        hook.remove()
    return [replace(item, hidden=kept[number]) for number, item in enumerate(items)]

"""The decoder layers below the lowest trained one: what they make of a text is always the same."""

from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain

import torch
from tqdm import tqdm

from headimpact.guards import NotFiniteError, first_nonfinite_layer
from headimpact.training.batches import Collator, like_lengths, on_device


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
def keep_states(model, family, items, below, room):
    """`items` with what decoder layer `below` is given of each, held in the CPU's memory.

    items: list of Item. All layers below that one are frozen. room: a Room, how many at a time.
    Raises FloatingPointError, naming the sample and the layer, if it is not finite.
    """
    layer, collate, seen = decoder_layers(model, family)[below], Collator(family), {}
    hook = layer.register_forward_pre_hook(lambda _layer, given: seen.update(states=given[0]))

    def states(part):
        """One tensor (tokens, hidden) an item of `part`."""
        inputs = on_device(collate(part), model.device)
        del inputs["labels"], inputs["logits_to_keep"]
        outputs = family.encoder_outputs(inputs.pop("features"))
        model(**inputs, mm_encoder_outputs=outputs, use_cache=False, logits_to_keep=1)
        whole = seen.pop("states")
        return [
            row[: len(item)].to("cpu", copy=True) for item, row in zip(part, whole, strict=True)
        ]

    kept = {}
    try:
        with handing_on(model, family, slice(below, None)):
            for numbers in tqdm(like_lengths([*map(len, items)], room.size), desc="frozen layers"):
                found = chain.from_iterable(room(states, [items[number] for number in numbers]))
                for number, state in zip(numbers, found, strict=True):
                    if not torch.isfinite(state).all():
                        where = first_nonfinite_layer(
                            decoder_layers(model, family), partial(states, [items[number]])
                        )
                        raise NotFiniteError(
                            f"sample {items[number].sample_id}: not finite {where}"
                        )
                    kept[number] = state
    finally:
        hook.remove()
    return [replace(item, hidden=kept[number]) for number, item in enumerate(items)]

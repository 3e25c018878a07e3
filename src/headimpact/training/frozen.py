"""The decoder layers below the lowest trained one: their output for a text never changes."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from itertools import chain

import torch
from tqdm import tqdm

from headimpact.guards import AdaptiveBatch, NotFiniteError, first_nonfinite_layer
from headimpact.models.family import Family
from headimpact.training.batches import Collator, Item, move_to_device, sorted_by_length


def decoder_layers(model: torch.nn.Module, family: Family) -> torch.nn.ModuleList:
    """The layers of the language model, the lowest first."""
    return model.get_submodule(family.decoder).layers


@contextmanager
def skip_layers(model: torch.nn.Module, family: Family, layers: slice) -> Iterator[None]:
    """Within it, these decoder layers are replaced by the identity.

    A model that skips all layers below the lowest trained one takes an Item's `hidden` as its
    `inputs_embeds`.
    """
    skipped = decoder_layers(model, family)[layers]
    for layer in skipped:
        layer.forward = lambda hidden_states, *_args, **_kwargs: hidden_states
    try:
        yield
    finally:
        for layer in skipped:
            del layer.forward


@torch.no_grad()
def add_hidden_states(
    model: torch.nn.Module,
    family: Family,
    items: list[Item],
    layer: int,
    adaptive_batch: AdaptiveBatch,
) -> list[Item]:
    """`items` with the hidden states that are the input of decoder layer `layer`, on the CPU.

    All layers below that one must be frozen. Raises NotFiniteError, naming the sample and the
    layer, if a hidden state is not finite.
    """
    layers, collate, inputs_of_layer = decoder_layers(model, family), Collator(family), []
    hook = layers[layer].register_forward_pre_hook(
        lambda _layer, arguments: inputs_of_layer.append(arguments[0])
    )

    def compute_states(batch):
        """One tensor (tokens, hidden) an item of `batch`."""
        inputs = move_to_device(collate(batch), model.device)
        del inputs["labels"], inputs["logits_to_keep"]
        outputs = family.encoder_outputs(inputs.pop("features"))
        model(**inputs, mm_encoder_outputs=outputs, use_cache=False, logits_to_keep=1)
        states = inputs_of_layer.pop()
        return [
            row[: len(item)].to("cpu", copy=True) for item, row in zip(batch, states, strict=True)
        ]

    hidden = {}
    batches = sorted_by_length([*map(len, items)], adaptive_batch.size)
    try:
        with skip_layers(model, family, slice(layer, None)):
            for numbers in tqdm(batches, desc="frozen layers"):
                batch = [items[number] for number in numbers]
                states = chain.from_iterable(adaptive_batch(compute_states, batch))
                for number, state in zip(numbers, states, strict=True):
                    if not torch.isfinite(state).all():
                        item = items[number]
                        where = first_nonfinite_layer(layers, partial(compute_states, [item]))
                        raise NotFiniteError(f"sample {item.sample_id}: not finite {where}")
                    hidden[number] = state
    finally:
        hook.remove()
    return [replace(item, hidden=hidden[number]) for number, item in enumerate(items)]

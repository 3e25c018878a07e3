"""Gradients of fine-tuning's loss with respect to the q, k and v projections of the decoder.

The items are all key objects of the split impact, also those that cover no token.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import pandas as pd
import torch

from headimpact.guards import AdaptiveBatch, NotFiniteError, UserError
from headimpact.models.family import Family
from headimpact.models.features import compute
from headimpact.scores.inputs import ScoreInputs
from headimpact.statistics import in_second_half
from headimpact.training.batches import Collator, Item, make_items
from headimpact.training.frozen import decoder_layers
from headimpact.training.losses import finite_losses

PASSES_PER_ITEM = 3  # a forward pass, and a backward pass that costs as much as two, see `Scores`
PROJECTIONS = ("q_proj", "k_proj", "v_proj")  # those that fine-tuning adapts, see `methods.lora`
BATCH = 16  # most descriptions of an image in one pass, fewer where a GPU runs out of memory

Projections = list[dict[str, torch.Tensor]]  # {name: a tensor for its weight} of each layer


@dataclass(frozen=True)
class MeanGradients:
    """The gradients of the mean loss of the descriptions' tokens.

    gradients: float32, each of the shape of its weight, (rows, hidden). halves: the same of either
    half of the images, see `statistics.in_second_half`; None if there is one image. items: how many
    descriptions the loss is a mean over.
    """

    gradients: Projections
    halves: tuple[Projections, Projections] | None
    items: int

    @property
    def cost(self) -> int:
        """See `Scores.cost`; the descriptions of an image share no prefix, and are a pass each."""
        return PASSES_PER_ITEM * self.items


def projection_weights(model: torch.nn.Module, family: Family) -> Projections:
    """The weights of the q, k and v projections of each decoder layer, (rows, hidden)."""
    return [
        {name: layer.self_attn.get_submodule(name).weight for name in PROJECTIONS}
        for layer in decoder_layers(model, family)
    ]


def mean_gradients(inputs: ScoreInputs) -> MeanGradients:
    """The gradients that fine-tuning's first step would follow if one batch held all items.

    As in a batch of fine-tuning, the loss is a mean over all tokens of the descriptions. Raises
    UserError and NotFiniteError as `loss_gradients` does.
    """
    images = inputs.samples.loc[inputs.samples["sample_id"].isin(inputs.objects["sample_id"])]
    ids = images["sample_id"].to_numpy()
    half_of = dict(zip(ids, in_second_half(ids).astype(int), strict=True))
    sums, tokens, items = {}, {}, 0
    for batch, gradients in loss_gradients(inputs):
        half = half_of[batch[0].sample_id]
        sums[half] = _add(sums.get(half), gradients)
        tokens[half] = tokens.get(half, 0) + sum(len(i) - i.sequence.start for i in batch)
        items += len(batch)
    total = _divide(_add(sums[0], sums[1]) if 1 in sums else sums[0], sum(tokens.values()))
    halves = tuple(_divide(sums[h], tokens[h]) for h in (0, 1)) if 1 in sums else None
    return MeanGradients(total, halves, items)


def _add(total: Projections | None, gradients: Projections) -> Projections:
    """The sum in float32: sums over many images would lose what is small in bfloat16."""
    if total is None:
        return [{name: g.float().clone() for name, g in layer.items()} for layer in gradients]
    return [
        {name: sums[name] + gradient for name, gradient in layer.items()}
        for sums, layer in zip(total, gradients, strict=True)
    ]


def _divide(sums: Projections, count: int) -> Projections:
    return [{name: tensor / count for name, tensor in layer.items()} for layer in sums]


def loss_gradients(
    inputs: ScoreInputs, one_by_one: bool = False
) -> Iterator[tuple[list[Item], Projections]]:
    """Yield Items and the gradients of their loss, a sum over their descriptions' tokens.

    one_by_one: yield each Item alone; otherwise the Items of an image are yielded together. The
    gradients have the dtype of the model. Raises UserError if there is no key object, and
    NotFiniteError, naming the sample and the layer, if a loss or a gradient is not finite.
    """
    model, family = inputs.model, inputs.family
    weights, layers = projection_weights(model, family), decoder_layers(model, family)
    collate = Collator(family)
    run_in_batches = AdaptiveBatch(1 if one_by_one else BATCH, "gradients")
    with _require_gradients_of(model, weights):
        for items in description_items(inputs, inputs.samples, inputs.objects, "gradients"):
            for batch in [[item] for item in items] if one_by_one else [items]:

                def accumulate(micro_batch, batch=batch):
                    # also the first one after a halving, which runs the batch from its beginning
                    if micro_batch[0] is batch[0]:
                        model.zero_grad()
                    finite_losses(model, family, layers, collate, micro_batch)[0].sum().backward()

                run_in_batches(accumulate, batch)
                gradients = [{n: w.grad for n, w in layer.items()} for layer in weights]
                _check_finite(gradients, batch[0].sample_id)
                yield batch, gradients


def description_items(
    inputs: ScoreInputs, samples: pd.DataFrame, objects: pd.DataFrame, desc: str
) -> Iterator[list[Item]]:
    """Yield the Items of each image of `samples` that has one of `objects`, tables of those kinds.

    desc: the name of the progress bar. Raises UserError if no image has one.
    """
    objects_of = dict(list(objects.groupby("sample_id")))
    samples = samples[samples["sample_id"].isin(objects_of)]
    if samples.empty:
        raise UserError(
            "no image of the split impact has a key object; raise sampling.images or lower "
            "annotator.min_confidence"
        )
    for sample, features in compute(inputs.model, inputs.family, inputs.images, samples, desc):
        features, row = {sample.sample_id: features}, samples.loc[[sample.Index]]
        yield make_items(inputs.family, features, row, objects_of[sample.sample_id])


def square_rows(layer: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The squared norm of each row of the tensors of a layer, {name: float64 (rows,)}."""
    return {name: tensor.double().square().sum(1) for name, tensor in layer.items()}


def sum_by_head(rows: dict[str, torch.Tensor], heads: int) -> torch.Tensor:
    """For each head, the sum of what `rows` says of the rows of its projections.

    rows: {name of the projection: float (rows,)} of one layer. In grouped-query attention the heads
    of a group share the rows of k and v: these count for each head of the group. Returns a tensor
    (heads,).
    """
    size = len(rows["q_proj"]) // heads
    by_head = {name: values.view(-1, size).sum(1) for name, values in rows.items()}
    return sum(sums.repeat_interleave(heads // len(sums)) for sums in by_head.values())


@contextmanager
def _require_gradients_of(model, weights):
    """Within it, no other parameter gets a gradient: that would need more memory and time."""
    required = {parameter: parameter.requires_grad for parameter in model.parameters()}
    model.requires_grad_(False)
    for layer in weights:
        for weight in layer.values():
            weight.requires_grad = True
    try:
        yield
    finally:
        model.zero_grad()
        for parameter, value in required.items():
            parameter.requires_grad = value


def _check_finite(gradients, sample_id):
    """Raise NotFiniteError, naming the sample and the layer, for a gradient that is not finite."""
    finite = torch.stack(
        [torch.stack([g.isfinite().all() for g in layer.values()]).all() for layer in gradients]
    )
    if not finite.all():
        layer = int((~finite).nonzero()[0])
        raise NotFiniteError(f"sample {sample_id}: the gradient in layer {layer} is not finite")

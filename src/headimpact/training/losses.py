"""The loss of fine-tuning: the negative log-likelihood of the descriptions' tokens."""

import torch

from headimpact.guards import NotFiniteError, first_nonfinite_layer
from headimpact.models.family import Family
from headimpact.models.layout import IGNORE
from headimpact.training.batches import Collator, Item, move_to_device


def description_losses(
    model: torch.nn.Module, family: Family, inputs: dict
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each item's loss (nats), summed over its description's tokens, and their number.

    inputs: the Collator's, on the model's device. Returns two tensors (batch,).
    """
    inputs = dict(inputs)
    labels = inputs.pop("labels")
    if "features" in inputs:
        inputs["mm_encoder_outputs"] = family.encoder_outputs(inputs.pop("features"))
    logits = model(**inputs, use_cache=False).logits.float()
    losses = torch.nn.functional.cross_entropy(
        logits.flatten(0, 1), labels.flatten(), ignore_index=IGNORE, reduction="none"
    ).view(labels.shape)
    return losses.sum(1), (labels != IGNORE).sum(1)


def finite_losses(
    model: torch.nn.Module,
    family: Family,
    layers: torch.nn.ModuleList,
    collate: Collator,
    items: list[Item],
) -> tuple[torch.Tensor, torch.Tensor]:
    """The `description_losses` of `items`.

    layers: the decoder layers that `model` runs. Raises NotFiniteError, naming the sample and the
    layer, if a loss is not finite.
    """
    inputs = move_to_device(collate(items), model.device)
    losses, counts = description_losses(model, family, inputs)
    if not torch.isfinite(losses).all():
        item = items[int((~torch.isfinite(losses)).nonzero()[0])]
        inputs = move_to_device(collate([item]), model.device)
        where = first_nonfinite_layer(layers, lambda: description_losses(model, family, inputs))
        raise NotFiniteError(f"sample {item.sample_id}: the loss is not finite, {where}")
    return losses, counts

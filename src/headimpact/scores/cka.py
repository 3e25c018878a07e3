"""How much each decoder layer changes the last token's state, by linear CKA."""

from contextlib import contextmanager
from itertools import pairwise

import numpy as np
import torch

from headimpact.guards import UserError
from headimpact.scores.gradients import description_items
from headimpact.scores.inputs import ScoreInputs, Scores
from headimpact.statistics import in_second_half
from headimpact.training.batches import Collator
from headimpact.training.frozen import decoder_layers
from headimpact.training.losses import finite_losses


def cka(inputs: ScoreInputs, images: int) -> Scores:
    """1 - CKA(X, Y) of every layer, X being the last token's states at its input, Y at its output.

    A layer that moves the states of different items in different ways is high. "Layer-wise LoRA
    fine-tuning: a similarity metric approach" (2602.05988) fine-tunes the layers of the highest
    value. The last token is the description's: the prompt's is the same token in all items, so that
    its state at the input of the first layer would not vary.

    images: how many images of the split impact are taken, the first ones, with the first object of
    each; all, if there are fewer. Raises UserError if fewer than three have a key object, because
    two items always have a CKA of 1.
    """
    objects = inputs.objects.drop_duplicates("sample_id")
    samples = inputs.samples[inputs.samples["sample_id"].isin(objects["sample_id"])][:images]
    if len(samples) < 3:
        raise UserError(
            f"{len(samples)} images of the split impact have a key object, and CKA needs three; "
            f"raise sampling.images or lower annotator.min_confidence"
        )
    states = _last_states(inputs, samples, objects)
    second = in_second_half(samples["sample_id"])
    parts = [_changes(states[:, part]) for part in (slice(None), ~second, second)]
    halves = np.stack(parts[1:]) if second.sum() > 2 else None
    return Scores(parts[0], n=len(samples), halves=halves, cost=len(samples))


def _changes(states):
    """1 - CKA of each layer, float64 (layers,)."""
    return np.array([1 - linear_cka(before, after) for before, after in pairwise(states)])


def linear_cka(x: np.ndarray, y: np.ndarray) -> float:
    """||X'Y||^2 / (||X'X|| ||Y'Y||), in Frobenius norms, of columns that are centred over items.

    From "Similarity of Neural Network Representations Revisited" (Kornblith et al., ICML 2019).
    x, y: float64 (items, features). Returns 0 if all items are equal in x, or in y: no difference
    between items is common to both then.
    """
    if not (np.ptp(x, 0).any() and np.ptp(y, 0).any()):
        return 0.0
    x, y = x - x.mean(0), y - y.mean(0)
    # ||X'Y||^2 = <XX', YY'>: the products of items are fewer than those of features
    x_products, y_products = x @ x.T, y @ y.T
    norms = np.linalg.norm(x_products) * np.linalg.norm(y_products)
    return float((x_products * y_products).sum() / norms)


@torch.no_grad()
def _last_states(inputs, samples, objects):
    """The last token's states at the input of each layer and behind the last one, float64
    (layers + 1, items, hidden)."""
    model, family = inputs.model, inputs.family
    layers, collate, states = decoder_layers(model, family), Collator(family), []
    with _record_last_states(layers) as recorded:
        for (item,) in description_items(inputs, samples, objects, "states"):
            finite_losses(model, family, layers, collate, [item])
            states.append(torch.stack(recorded).double().cpu().numpy())
            recorded.clear()
    return np.stack(states, 1)


@contextmanager
def _record_last_states(layers):
    """Yields a list to which a pass of a single item adds the states, (hidden,) each."""
    recorded = []

    def record_input(_layer, arguments):
        recorded.append(arguments[0][0, -1])

    def record_output(_layer, _arguments, output):
        recorded.append((output[0] if isinstance(output, tuple) else output)[0, -1])

    hooks = [layer.register_forward_pre_hook(record_input) for layer in layers]
    hooks.append(layers[-1].register_forward_hook(record_output))
    try:
        yield recorded
    finally:
        for hook in hooks:
            hook.remove()

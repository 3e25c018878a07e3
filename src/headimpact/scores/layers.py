"""Head scores to layer scores to the layers that each fine-tuning setup trains (section 5.3)."""

import numpy as np

from headimpact.guards import UserError


def layer_scores(scores):
    """Mean over heads of a head_scores table, float64 (layers,)."""
    return scores.groupby("layer")["value"].mean().sort_index().to_numpy()


def choose(setup, total, means=None, draw=0, seed=0):
    """The decoder layers that `setup` trains, sorted list of int.

    setup: {"layers": "none", "all", "top", "bottom" or "random", "count": how many}, or a list
    of layers in the place of that word. total: the decoder's layers. means: their scores, float
    (total,); "none", "all" and a list want none. A random draw takes neither the `count` top nor
    the `count` bottom layers; ties go to the earlier layer. Raises ValueError if the decoder has
    too few layers for it.
    """
    kind = setup["layers"]
    if isinstance(kind, list):
        if not set(kind) <= set(range(total)):
            raise UserError(f"layers {kind} want a decoder of more layers than {total}")
        return sorted(kind)
    if kind == "none":
        return []
    if kind == "all":
        return list(range(total))
    count = setup["count"]
    wanted = 3 * count if kind == "random" else count
    if wanted > total:
        raise UserError(f"setups: {count} {kind} layers want a decoder of {wanted}, not {total}")
    order = np.argsort(-means, kind="stable")
    if kind == "top":
        return sorted(int(layer) for layer in order[:count])
    if kind == "bottom":
        return sorted(int(layer) for layer in order[-count:])
    rng = np.random.default_rng((seed, draw))
    return sorted(int(layer) for layer in rng.choice(order[count:-count], count, replace=False))

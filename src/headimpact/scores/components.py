"""Spatial entropy: over how many separate places on the token grid a head's attention is spread."""

import numpy as np
from scipy.ndimage import label

# Tokens are neighbours within a plane, diagonally too; planes are tiles of one head, and apart.
_NEIGHBOURS = np.zeros((3, 3, 3), bool)
_NEIGHBOURS[1] = True


def component_entropy(excess: np.ndarray, grid: tuple[int, int, int]) -> np.ndarray:
    """Entropy of the shares that connected components have of the attention above the mean.

    The tokens with a positive excess form components of 8-connected neighbours, each within a
    tile. A component's share is the sum of its excess over that of all components, and the entropy
    is -sum(share * ln(share)), in nats: 0 if there is one component. Without a positive excess the
    attention is uniform, and the value is ln(visual tokens), which no components can reach.

    excess: float64 (rows, visual tokens), attention minus its mean. grid: tiles, rows and columns
    of the token grid. Returns float64 (rows,).
    Source: Kang et al., Your Large Vision-Language Model Only Needs A Few Attention Heads For
    Visual Grounding, CVPR 2025.
    """
    heads, tokens = excess.shape
    planes = (excess > 0).reshape(-1, *grid[1:])
    labels, count = label(planes, _NEIGHBOURS)
    places = np.flatnonzero(planes)
    components = labels.ravel()[places] - 1
    sums = np.bincount(components, excess.ravel()[places], count)
    head_of_component = np.zeros(count, int)
    head_of_component[components] = places // tokens
    totals = np.bincount(head_of_component, sums, heads)
    shares = sums / totals[head_of_component]
    entropy = np.bincount(head_of_component, -shares * np.log(shares), heads)
    return np.where(totals > 0, entropy, np.log(tokens))

"""Intersection over union of the tokens that a head attends to and the tokens of masks."""

import numpy as np


def iou(attended: np.ndarray, mask: np.ndarray) -> np.ndarray:
    """Intersection over union of attended tokens and mask tokens, equation (1).

    attended: bool (..., visual tokens). mask: bool (visual tokens,), not empty.
    Returns float64 (...,), from 0 to 1.
    """
    if not mask.any():
        raise ValueError("no token belongs to the mask, so that IoU is not defined")
    return (attended & mask).sum(-1) / (attended | mask).sum(-1)


def mean_iou(attended: np.ndarray, masks: list[np.ndarray]) -> np.ndarray:
    """The mean of `iou` over several masks, float64 (...,)."""
    return np.mean([iou(attended, mask) for mask in masks], axis=0)


def random_iou(attended: np.ndarray, mask_size: int, tokens: int) -> np.ndarray:
    """The expected IoU of a mask with as many tokens as are attended, drawn at random.

    attended: int (...,), how many tokens are attended. mask_size: how many tokens the mask has.
    tokens: how many there are. Returns float64 (...,): the mean of k / (attended + mask_size - k)
    where k, the tokens that are in both, is hypergeometric.
    """
    from scipy.stats import hypergeom  # The import takes half a second, and few callers need it.

    sizes, index = np.unique(attended, return_inverse=True)
    common = np.arange(mask_size + 1)
    probabilities = hypergeom.pmf(common, tokens, mask_size, sizes[:, None])
    # a union of 0 needs more tokens in common than are attended, which has the probability 0
    unions = np.maximum(sizes[:, None] + mask_size - common, 1)
    return (probabilities * common / unions).sum(-1)[index].reshape(np.shape(attended))

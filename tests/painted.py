"""Which image features change once a rectangle of the image is painted."""

from contextlib import contextmanager

import numpy as np
from PIL import Image

from headimpact.models.family import EncodedImage
from headimpact.scores.coverage import coverage

BOXES = [(0.1, 0.2, 0.6, 0.5), (0.5, 0.0, 1.0, 0.4), (0.0, 0.55, 0.45, 1.0), (0.7, 0.6, 0.9, 0.95)]
# the projections behind the attention of the vision towers
OUTPUTS = tuple(
    f"{name}.weight"
    for name in ("attn.proj", "attn.out_proj", "attn.o_proj", "attention.projection_layer")
)


def encode(model, family, image):
    """The EncodedImage of an image, from its pixels."""
    (features,) = family.features(model, family.pixels([image]))
    return EncodedImage(features, family.grid(*image.size))


@contextmanager
def local_features(model):
    """Within it, the vision tower attends to nothing: features depend on their own pixels alone."""
    tower = model.get_encoder(modality="image")
    weights = [w for name, w in tower.named_parameters() if name.endswith(OUTPUTS)]
    assert len(weights) == model.config.vision_config.num_hidden_layers
    before = [weight.data.clone() for weight in weights]
    for weight in weights:
        weight.data.zero_()
    yield
    for weight, values in zip(weights, before, strict=True):
        weight.data.copy_(values)


def twice_as_wide(rectangles, size):
    """Rectangles about the same centres, cut at the edges of an image of that size."""
    half = (rectangles[:, 2:] - rectangles[:, :2]) / 2
    return (rectangles + np.concatenate([-half, half], 1)).clip(0, [*size, *size])


def contradictions(model, family, size, rectangles, boxes=BOXES):
    """How many tokens change, or stay, against what their rectangles say of painted boxes.

    A token changes if it is covered by more than a half, and may change if the rectangle is less
    than half a token away: the filters that resize an image blur its edges.
    rectangles: (tokens, 4), as of a TokenGrid.
    """
    noise = np.random.default_rng(3).integers(0, 256, (*size[::-1], 3), dtype=np.uint8)
    before = encode(model, family, Image.fromarray(noise)).features
    count = 0
    for box in boxes:
        x0, y0, x1, y1 = (round(e * side) for e, side in zip(box, size * 2, strict=True))
        image, mask = noise.copy(), np.zeros(noise.shape[:2], bool)
        image[y0:y1, x0:x1] = 255 - image[y0:y1, x0:x1]
        mask[y0:y1, x0:x1] = True
        after = encode(model, family, Image.fromarray(image)).features
        assert len(after) == len(rectangles)
        changes = ((after - before).abs().amax(-1) > 1e-4 * before.abs().max()).numpy()
        covered = coverage(mask, rectangles) > 0.5
        may_change = coverage(mask, twice_as_wide(rectangles, size)) > 1e-4
        count += (covered & ~changes).sum() + (changes & ~may_change).sum()
    return count

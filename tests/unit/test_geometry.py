"""The tokens whose pixels change under a painted rectangle are those that coverage names."""

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import AutoConfig
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from headimpact.models.idefics3 import Idefics3
from headimpact.models.paligemma2 import PaliGemma2
from headimpact.models.qwen2_vl import Qwen2VL
from headimpact.tokens import coverage


def brightness(family, image):
    """The mean value of each visual token's own pixels, in the order of the sequence."""
    tensors = family.pixels([image])
    pixels = tensors["pixel_values"]
    if family.model_type == "qwen2_vl":
        merged = family.config.vision_config.spatial_merge_size**2
        return pixels.reshape(-1, merged * pixels.shape[-1]).mean(-1).numpy()
    tiles = pixels.reshape(-1, *pixels.shape[-3:])
    side = family.grid(*image.size).tiles[0].rows
    step = tiles.shape[-1] // side
    blocks = tiles.reshape(len(tiles), 3, side, step, side, step)
    return blocks.mean((1, 3, 5)).reshape(-1).numpy()


def check(family, width, height, box):
    image = np.zeros((height, width, 3), np.uint8)
    before = brightness(family, Image.fromarray(image))
    x0, y0, x1, y1 = (
        round(edge * side) for edge, side in zip(box, (width, height) * 2, strict=True)
    )
    image[y0:y1, x0:x1] = 255
    after = brightness(family, Image.fromarray(image))
    white = brightness(family, Image.fromarray(np.full_like(image, 255)))
    grid = family.grid(width, height)
    named = coverage(image[..., 0] > 0, grid.rectangles)
    assert len(named) == len(after) == grid.tokens
    # the resampling filters blur an edge by a pixel or two, no more
    np.testing.assert_allclose((after - before) / (white - before), named, atol=0.12)
    assert (named > 0.5).any() and (named < 0.5).any()


BOXES = [(0.1, 0.2, 0.6, 0.5), (0.5, 0.0, 1.0, 0.4), (0.0, 0.55, 0.45, 1.0)]


@pytest.mark.parametrize("box", BOXES)
@pytest.mark.parametrize("size", [(108, 72), (72, 108), (108, 108), (300, 200), (145, 200)])
def test_miniatures(made, size, box):
    check(made[1], *size, box)


def real_size(name):
    """A family at the real checkpoint's sizes; no tokenizer and no weights are needed."""
    if name == "paligemma2":
        config = AutoConfig.for_model("paligemma")
        config.vision_config.image_size, config.vision_config.patch_size = 448, 14
        return PaliGemma2(config, None, SiglipImageProcessorPil(size={"height": 448, "width": 448}))
    if name == "qwen2_vl":
        config = AutoConfig.for_model("qwen2_vl")
        return Qwen2VL(config, None, Qwen2VLImageProcessorPil())
    config = AutoConfig.for_model("idefics3")
    config.vision_config.image_size, config.vision_config.patch_size = 384, 14
    config.scale_factor = 3
    processor = Idefics3ImageProcessorPil(
        size={"longest_edge": 1536}, max_image_size={"longest_edge": 384}
    )
    return Idefics3(config, None, processor)


@pytest.mark.parametrize(
    ("name", "tokens", "tiles"),
    [("paligemma2", 1024, 1), ("qwen2_vl", 391, 1), ("idefics3", 1053, 13)],
)
def test_a_photograph_at_the_real_sizes(name, tokens, tiles):
    grid = real_size(name).grid(640, 480)
    assert (grid.tokens, len(grid.tiles)) == (tokens, tiles)


@pytest.mark.parametrize("name", ["paligemma2", "qwen2_vl"])
@pytest.mark.parametrize("size", [(640, 480), (200, 145), (427, 640)])
def test_real_sizes(name, size):
    check(real_size(name), *size, BOXES[0])


def test_positions_are_the_models_own(made, photo):
    model, family = made
    if family.model_type != "qwen2_vl":
        pytest.skip("only Qwen2-VL has positions of three axes")
    for size in ((108, 72), (72, 108), (200, 145)):
        grid = family.grid(*size)
        ids = torch.tensor([family.description(grid, "a cat").ids])
        wanted, _ = model.model.get_rope_index(
            ids,
            mm_token_type_ids=(ids == family.image_token).int(),
            image_grid_thw=family.pixels([photo(*size)])["image_grid_thw"],
        )
        assert (family.positions(tuple(ids[0].tolist()), grid) == wanted[:, 0]).all()

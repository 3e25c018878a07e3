"""The tokens whose pixels change under a painted rectangle are those that coverage names."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from headimpact.dataset.coco import CocoFolder
from headimpact.miniature.checkpoints import MAKERS
from headimpact.miniature.tokenizers import make_tokenizer
from headimpact.models import prompts
from headimpact.models.load import load_family
from headimpact.scores.coverage import coverage

ROOT = Path(__file__).parents[2]


def brightness(family, image):
    """The mean value of each visual token's own pixels, in the order of the sequence."""
    tensors = family.pixels([image])
    pixels = tensors["pixel_values"]
    if family.model_type == "qwen2_vl":
        merged = family.config.vision_config.spatial_merge_size**2
        return pixels.reshape(-1, merged * pixels.shape[-1]).mean(-1).numpy()
    tiles = pixels.reshape(-1, *pixels.shape[-3:])
    side = family.grid(*image.size).tiles[0].rows
    merged = getattr(family.config, "scale_factor", 1)
    step = family.config.vision_config.patch_size * merged
    blocks = tiles[..., : side * step, : side * step]  # what is left is no patch
    blocks = blocks.reshape(len(tiles), 3, side, step, side, step)
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
def test_miniatures(model_and_family, size, box):
    check(model_and_family[1], *size, box)


TOKENIZERS = {
    "paligemma2-3b-mix-448": "paligemma2",
    "qwen2-vl-2b-instruct": "qwen2_vl",
    "smolvlm-instruct": "idefics3",
}


@pytest.fixture(scope="module", params=TOKENIZERS)
def real_size(request, tmp_path_factory):
    """A family at the real checkpoint's sizes, read from a folder as the hub has it."""
    folder = tmp_path_factory.mktemp("checkpoint") / "it"
    shutil.copytree(ROOT / "resources/configurations" / request.param, folder)
    tokenizer = make_tokenizer(TOKENIZERS[request.param])
    tokenizer.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    key = "image_token_index" if "image_token_index" in config else "image_token_id"
    with pytest.raises(ValueError, match=f"is not token {config[key]} of its tokenizer"):
        load_family(folder)
    image = "<|image_pad|>" if config["model_type"] == "qwen2_vl" else "<image>"
    config[key] = tokenizer.convert_tokens_to_ids(image)
    (folder / "config.json").write_text(json.dumps(config))
    return load_family(folder)


TOKENS = {  # of 640x480, 480x640, 200x145, 640x640, 427x640
    "paligemma": [1024] * 5,
    "qwen2_vl": [23 * 17, 17 * 23, 7 * 5, 23 * 23, 15 * 23],
    # twelve tiles and the whole image; a square has sixteen
    "idefics3": [13 * 81, 13 * 81, 13 * 81, 17 * 81, 13 * 81],
}
REAL = [(640, 480), (480, 640), (200, 145), (640, 640), (427, 640)]


def test_photographs_at_the_real_sizes(real_size):
    grids = [real_size.grid(*size) for size in REAL]
    assert [grid.tokens for grid in grids] == TOKENS[real_size.model_type]
    for grid, (width, height) in zip(grids, REAL, strict=True):
        whole = grid.rectangles[slice(*grid.spans[-1])]
        assert whole.min(0)[:2].tolist() == [0, 0]
        # 27 patches of 14 pixels leave 6 of SmolVLM's 384 unseen
        seen = 378 / 384 if real_size.model_type == "idefics3" else 1
        assert whole.max(0)[2:].tolist() == pytest.approx([seen * width, seen * height])


@pytest.mark.parametrize("size", REAL)
def test_real_sizes(real_size, size):
    check(real_size, *size, BOXES[0])


@pytest.mark.parametrize("size", [(640, 480), (200, 145)])
def test_grey_photographs_are_like_any_other(real_size, tmp_path, size):
    (tmp_path / "x").mkdir()
    values = np.random.default_rng(0).integers(0, 256, size[::-1], dtype=np.uint8)
    Image.fromarray(values, mode="L").save(tmp_path / "x/grey.png")
    image = CocoFolder(tmp_path, "x").image("grey.png")
    tensors = real_size.pixels([image])
    colour = real_size.pixels([Image.fromarray(np.stack([values] * 3, -1))])
    for name, tensor in tensors.items():
        assert torch.equal(tensor, colour[name])


def test_an_image_s_features_are_its_own_whatever_is_beside_it(model_and_family, photo):
    model, family = model_and_family
    images = [photo(*size, seed=n) for n, size in enumerate([(108, 72), (72, 72), (300, 100)])]
    together = family.features(model, family.pixels(images))
    for image, features in zip(images, together, strict=True):
        (alone,) = family.features(model, family.pixels([image]))
        assert len(alone) == family.grid(*image.size).tokens
        torch.testing.assert_close(features, alone, rtol=1e-4, atol=1e-5)


def test_an_image_that_is_not_split_is_one_tile():
    _, family = MAKERS["idefics3"]()
    family.image_processor.do_image_splitting = False
    assert family.grid(300, 200).tokens == 9
    check(family, 300, 200, (0.0, 0.0, 0.6, 0.9))


def test_positions_are_the_models_own(model_and_family, photo):
    model, family = model_and_family
    if family.model_type != "qwen2_vl":
        pytest.skip("only Qwen2-VL has positions of three axes")
    for size in ((108, 72), (72, 108), (200, 145)):
        grid = family.grid(*size)
        ids = torch.tensor([prompts.description(family, grid, "a cat").ids])
        wanted, _ = model.model.get_rope_index(
            ids,
            mm_token_type_ids=(ids == family.image_token).int(),
            image_grid_thw=family.pixels([photo(*size)])["image_grid_thw"],
        )
        assert (family.positions(tuple(ids[0].tolist()), grid) == wanted[:, 0]).all()

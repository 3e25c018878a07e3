"""SAM2: what goes in, and that masks and confidences are the model's own."""

import json
import os
import shutil

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file, save_file
from transformers import Sam2Config, Sam2Model, Sam2VideoConfig, Sam2VideoModel
from transformers.models.sam2.processing_sam2 import Sam2Processor

from headimpact.annotate import sam2
from headimpact.annotate.sam2 import Segmenter
from headimpact.dataset.coco import CocoFolder
from headimpact.miniature.annotators import save_sam2

BOXES = [(10.2, 5.4, 60.9, 80.1), (0.1, 0.07, 199.9, 144.9), (90.5, 30.25, 120.75, 110.5)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("sam2")
    save_sam2(folder)
    return folder


@pytest.fixture(scope="module")
def segmenter(folder):
    return Segmenter(folder)


@pytest.fixture
def copy(folder, tmp_path):
    return shutil.copytree(folder, tmp_path / "copy")


@pytest.fixture
def asked(segmenter, monkeypatch):
    """What the model and its image encoder are asked; they still answer."""
    calls, forward, encode = [], segmenter.model.forward, segmenter.model.get_image_embeddings

    def spy(**given):
        calls.append(given)
        return forward(**given)

    def spy_image(pixels):
        calls.append(pixels)
        return encode(pixels)

    monkeypatch.setattr(segmenter.model, "forward", spy)
    monkeypatch.setattr(segmenter.model, "get_image_embeddings", spy_image)
    return calls


@pytest.mark.parametrize(("width", "height"), [(200, 145), (640, 640), (427, 640)])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_masks_have_the_images_size(segmenter, photo, width, height, mode):
    masks, confidences = segmenter.segment(photo(width, height).convert(mode), BOXES)
    assert (masks.shape, masks.dtype) == ((3, height, width), bool)
    assert confidences.shape == (3,) and ((confidences > 0) & (confidences < 1)).all()
    assert masks.any(axis=(1, 2)).all()


def test_masks_and_confidences_are_one_plain_pass(segmenter, photo, asked):
    """The model's own forward from pixels, and its processor's interpolation, by its formula."""
    image = photo(200, 145)
    masks, confidences = segmenter.segment(image, BOXES)
    pixels, boxes = asked[0], asked[1]["input_boxes"]
    with torch.no_grad():
        out = Sam2Model.forward(
            segmenter.model, pixel_values=pixels, input_boxes=boxes, multimask_output=False
        )
    assert confidences == pytest.approx(out.iou_scores.flatten().numpy(), abs=1e-6)
    for mask, logits in zip(masks, out.pred_masks[0, :, 0].numpy(), strict=True):
        full = bilinear(logits, 145, 200)
        assert ((full > 0) == mask)[abs(full) > 1e-4].all()
    assert (masks[0] != masks[1]).any()


def bilinear(values, height, width):
    """Values (rows, columns) read at the centres of height x width pixels."""

    def read(count, size):
        at = np.clip((np.arange(size) + 0.5) * count / size - 0.5, 0, count - 1)
        low = np.minimum(at.astype(int), count - 2)
        weights = np.zeros((size, count))
        weights[np.arange(size), low] = 1 - (at - low)
        weights[np.arange(size), low + 1] = at - low
        return weights

    return read(values.shape[0], height) @ values @ read(values.shape[1], width).T


def test_many_boxes_see_the_image_once(segmenter, photo, asked):
    image, rng = photo(300, 200), np.random.default_rng(0)
    edges = rng.uniform(0, 100, (70, 2)), rng.uniform(110, 190, (70, 2))
    boxes = [tuple(map(float, box)) for box in np.concatenate(edges, axis=1)]
    masks, confidences = segmenter.segment(image, boxes)
    assert [type(call) for call in asked] == [torch.Tensor, dict, dict, dict]
    assert max(call["input_boxes"].shape[1] for call in asked[1:]) == sam2.TOGETHER
    for number in (0, 31, 32, 69):
        mask, confidence = segmenter.segment(image, [boxes[number]])
        assert confidence == pytest.approx(confidences[number], abs=1e-5)
        assert (mask[0] != masks[number]).mean() < 1e-3
    assert len(set(confidences.round(5))) > 35


def test_boxes_are_scaled_as_the_processor_does(segmenter, photo, asked):
    segmenter.segment(photo(200, 145), BOXES)
    expected = Sam2Processor._normalize_coordinates(
        None, 128, torch.tensor(BOXES), (145, 200), is_bounding_box=True
    )
    assert asked[1]["input_boxes"].dtype == torch.float32
    assert torch.allclose(asked[1]["input_boxes"][0], expected, rtol=0, atol=1e-4)


def test_pixels_are_resized_and_normalised(segmenter, photo, asked):
    """Against torch's own antialiased resize; PIL rounds to whole levels."""
    image = photo(200, 145)
    segmenter.segment(image, BOXES)
    assert asked[0].shape == (1, 3, 128, 128)
    values = torch.tensor(np.asarray(image), dtype=torch.float32).permute(2, 0, 1)[None]
    values = torch.nn.functional.interpolate(values, (128, 128), mode="bilinear", antialias=True)
    mean, std = (
        torch.tensor(x)[:, None, None] for x in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    )
    levels = (asked[0] * std + mean) * 255
    assert (levels - values).abs().max() < 1.01
    assert (levels - values).mean().abs() < 0.02


def test_the_recipe_is_the_checkpoints_own(copy):
    path = copy / "preprocessor_config.json"
    told = json.loads(path.read_text())
    path.write_text(json.dumps({**told, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.5] * 3}))
    other = Segmenter(copy)
    assert (other.side, other.mean, other.std) == (128, [0.1, 0.2, 0.3], [0.5] * 3)
    grey = other._pixels(Image.new("RGB", (9, 7), (51, 51, 51)))
    assert torch.allclose(grey[0, :, 0, 0], torch.tensor([0.2, 0.0, -0.2]), atol=1e-6)
    path.unlink()
    assert Segmenter(copy).side == 128
    assert Segmenter(copy).mean == [0.485, 0.456, 0.406]


def test_a_checkpoint_of_the_video_model_is_read_whole(tmp_path, photo):
    """The hub has SAM2 only so; transformers 4 wrote the memory's theta beside the rest."""
    save_sam2(tmp_path, video=True)
    path = tmp_path / "config.json"
    told = json.loads(path.read_text())
    del told["rope_parameters"]
    assert told["model_type"] == "sam2_video"
    path.write_text(json.dumps({**told, "memory_attention_rope_theta": 10000}))
    segmenter = Segmenter(tmp_path)
    assert isinstance(segmenter.model, Sam2Model)
    weights = load_file(tmp_path / "model.safetensors")
    for name, value in segmenter.model.state_dict().items():
        assert torch.equal(value, weights[name])
    assert segmenter.segment(photo(90, 70), [(5, 5, 60, 60)])[0].shape == (1, 70, 90)


def test_missing_weights_are_not_drawn_at_random(copy):
    weights = load_file(copy / "model.safetensors")
    del weights["prompt_encoder.point_embed.weight"], weights["no_memory_embedding"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"copy: 2 weights of Sam2Model .* no_memory_embedding;"):
        Segmenter(copy)


def test_coarser_weights_are_computed_with_in_float32(copy):
    weights = load_file(copy / "model.safetensors")
    weights = {name: value.bfloat16() for name, value in weights.items()}
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    told = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**told, "dtype": "bfloat16"}))
    assert {value.dtype for value in Segmenter(copy).model.state_dict().values()} == {torch.float32}


def test_no_boxes_are_no_work(segmenter, photo, asked):
    masks, confidences = segmenter.segment(photo(20, 10), [])
    assert (masks.shape, masks.dtype, confidences.shape) == ((0, 10, 20), bool, (0,))
    assert asked == []


def test_the_large_model_has_the_published_size():
    """224.4 M parameters with the video's memory (SAM 2.1's own table), 216.9 M without."""
    backbone = {
        "model_type": "sam2_hiera_det_model",
        "hidden_size": 144,
        "blocks_per_stage": [2, 6, 36, 4],
        "embed_dim_per_stage": [144, 288, 576, 1152],
        "num_attention_heads_per_stage": [2, 4, 8, 16],
        "window_size_per_stage": [8, 4, 16, 8],
        "global_attention_blocks": [23, 33, 43],
    }
    vision = {
        "model_type": "sam2_vision_model",
        "backbone_config": backbone,
        "backbone_channel_list": [1152, 576, 288, 144],
    }
    with torch.device("meta"):
        video = Sam2VideoModel(Sam2VideoConfig(vision_config=vision))
        model = Sam2Model(Sam2Config(vision_config=vision)).eval()
        out = model(
            pixel_values=torch.empty(1, 3, 1024, 1024),
            input_boxes=torch.empty(1, 2, 4),
            multimask_output=False,
        )
    counts = [sum(value.numel() for value in m.parameters()) for m in (video, model)]
    assert counts == [224_446_642, 216_924_865]
    assert out.pred_masks.shape == (1, 2, 1, 256, 256)
    assert out.iou_scores.shape == (1, 2, 1)


def test_real_photographs(segmenter):
    root = os.environ.get("HEADIMPACT_COCO")
    if not root:
        pytest.skip("HEADIMPACT_COCO names no folder of photographs in COCO's layout")
    folder = CocoFolder(root, "val2017")
    seen = set()
    for row in folder.captions().drop_duplicates("image_id").head(8).itertuples():
        width, height = row.width, row.height
        boxes = [(0.32, 0.21, width - 0.32, height - 0.21), (9.5, 7.25, width / 2, height / 3)]
        masks, confidences = segmenter.segment(folder.image(row.file_name), boxes)
        assert masks.shape == (2, height, width) and masks.any()
        seen |= set(confidences)
    assert len(seen) == 16

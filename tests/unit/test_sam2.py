"""SAM2: its inputs, how checkpoints are loaded, and the masks and confidences it returns."""

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
from headimpact.guards import UserError
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
def calls(segmenter, monkeypatch):
    """The inputs of every call of the image encoder and the model, which still run."""
    calls, forward, encode = [], segmenter.model.forward, segmenter.model.get_image_embeddings

    def spy(**inputs):
        calls.append(inputs)
        return forward(**inputs)

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


def test_masks_and_confidences_are_those_of_one_forward_pass(segmenter, photo, calls):
    """The expected masks are computed from the logits with the formula of the interpolation."""
    image = photo(200, 145)
    masks, confidences = segmenter.segment(image, BOXES)
    pixels, boxes = calls[0], calls[1]["input_boxes"]
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
    """Values, (rows, columns), interpolated at the centres of height x width pixels."""

    def read(count, size):
        at = np.clip((np.arange(size) + 0.5) * count / size - 0.5, 0, count - 1)
        low = np.minimum(at.astype(int), count - 2)
        weights = np.zeros((size, count))
        weights[np.arange(size), low] = 1 - (at - low)
        weights[np.arange(size), low + 1] = at - low
        return weights

    return read(values.shape[0], height) @ values @ read(values.shape[1], width).T


def test_the_image_is_encoded_once_for_many_boxes(segmenter, photo, calls):
    image, rng = photo(300, 200), np.random.default_rng(0)
    edges = rng.uniform(0, 100, (70, 2)), rng.uniform(110, 190, (70, 2))
    boxes = [tuple(map(float, box)) for box in np.concatenate(edges, axis=1)]
    masks, confidences = segmenter.segment(image, boxes)
    assert [type(call) for call in calls] == [torch.Tensor, dict, dict, dict]
    assert max(call["input_boxes"].shape[1] for call in calls[1:]) == sam2.BOXES_PER_BATCH
    for number in (0, 31, 32, 69):
        mask, confidence = segmenter.segment(image, [boxes[number]])
        assert confidence == pytest.approx(confidences[number], abs=1e-5)
        assert (mask[0] != masks[number]).mean() < 1e-3
    assert len(set(confidences.round(5))) > 35


def test_boxes_are_scaled_as_the_processor_does(segmenter, photo, calls):
    segmenter.segment(photo(200, 145), BOXES)
    expected = Sam2Processor._normalize_coordinates(
        None, 128, torch.tensor(BOXES), (145, 200), is_bounding_box=True
    )
    assert calls[1]["input_boxes"].dtype == torch.float32
    assert torch.allclose(calls[1]["input_boxes"][0], expected, rtol=0, atol=1e-4)


def test_pixels_are_resized_and_normalised(segmenter, photo, calls):
    """Compared with torch's antialiased resize; PIL's rounds to whole grey levels."""
    image = photo(200, 145)
    segmenter.segment(image, BOXES)
    assert calls[0].shape == (1, 3, 128, 128)
    values = torch.tensor(np.asarray(image), dtype=torch.float32).permute(2, 0, 1)[None]
    values = torch.nn.functional.interpolate(values, (128, 128), mode="bilinear", antialias=True)
    mean, std = (
        torch.tensor(x)[:, None, None] for x in ([0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    )
    levels = (calls[0] * std + mean) * 255
    assert (levels - values).abs().max() < 1.01
    assert (levels - values).mean().abs() < 0.02


def test_preprocessing_follows_the_checkpoint(copy):
    path = copy / "preprocessor_config.json"
    config = json.loads(path.read_text())
    path.write_text(json.dumps({**config, "image_mean": [0.1, 0.2, 0.3], "image_std": [0.5] * 3}))
    other = Segmenter(copy)
    assert (other.side, other.mean, other.std) == (128, [0.1, 0.2, 0.3], [0.5] * 3)
    grey = other._preprocess(Image.new("RGB", (9, 7), (51, 51, 51)))
    assert torch.allclose(grey[0, :, 0, 0], torch.tensor([0.2, 0.0, -0.2]), atol=1e-6)
    path.unlink()
    assert Segmenter(copy).side == 128
    assert Segmenter(copy).mean == [0.485, 0.456, 0.406]


def test_the_image_model_is_loaded_from_a_video_checkpoint(tmp_path, photo):
    """The hub has only video checkpoints; in those of transformers 4 theta is a key of its own."""
    save_sam2(tmp_path, video=True)
    path = tmp_path / "config.json"
    config = json.loads(path.read_text())
    del config["rope_parameters"]
    assert config["model_type"] == "sam2_video"
    path.write_text(json.dumps({**config, "memory_attention_rope_theta": 10000}))
    segmenter = Segmenter(tmp_path)
    assert isinstance(segmenter.model, Sam2Model)
    weights = load_file(tmp_path / "model.safetensors")
    for name, value in segmenter.model.state_dict().items():
        assert torch.equal(value, weights[name])
    assert segmenter.segment(photo(90, 70), [(5, 5, 60, 60)])[0].shape == (1, 70, 90)


def test_missing_weights_are_refused_and_not_initialised_at_random(copy):
    weights = load_file(copy / "model.safetensors")
    del weights["prompt_encoder.point_embed.weight"], weights["no_memory_embedding"]
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(UserError, match=r"copy: 2 weights .*no_memory_embedding"):
        Segmenter(copy)


def test_bfloat16_weights_are_loaded_as_float32(copy):
    weights = load_file(copy / "model.safetensors")
    weights = {name: value.bfloat16() for name, value in weights.items()}
    save_file(weights, copy / "model.safetensors", metadata={"format": "pt"})
    config = json.loads((copy / "config.json").read_text())
    (copy / "config.json").write_text(json.dumps({**config, "dtype": "bfloat16"}))
    assert {value.dtype for value in Segmenter(copy).model.state_dict().values()} == {torch.float32}


def test_without_boxes_the_model_is_not_run(segmenter, photo, calls):
    masks, confidences = segmenter.segment(photo(20, 10), [])
    assert (masks.shape, masks.dtype, confidences.shape) == ((0, 10, 20), bool, (0,))
    assert calls == []


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


def test_objects_in_photographs_get_masks(segmenter):
    root = os.environ.get("HEADIMPACT_COCO")
    if not root:
        pytest.skip("HEADIMPACT_COCO names no folder of photographs in COCO's layout")
    folder = CocoFolder(root, "val2017")
    all_confidences = set()
    for row in folder.captions().drop_duplicates("image_id").head(8).itertuples():
        width, height = row.width, row.height
        boxes = [(0.32, 0.21, width - 0.32, height - 0.21), (9.5, 7.25, width / 2, height / 3)]
        masks, confidences = segmenter.segment(folder.image(row.file_name), boxes)
        assert masks.shape == (2, height, width) and masks.any()
        all_confidences |= set(confidences)
    assert len(all_confidences) == 16

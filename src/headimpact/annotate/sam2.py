"""SAM2 segments the object in each box and estimates how good the mask is."""

from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate
from transformers import Sam2Model
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from transformers.models.auto.image_processing_auto import get_image_processor_config

from headimpact.guards import AdaptiveBatch
from headimpact.models.weights import load_weights

BOXES_PER_BATCH = 32


class Segmenter:
    """SAM2 in float32, because bfloat16 is too coarse for the coordinates of boxes.

    folder: a checkpoint of SAM2, for images or for videos. Its preprocessor_config.json says how
    images are resized and normalised. Raises UserError if weights are missing.
    """

    def __init__(self, folder: str | Path, device: str = "cpu"):
        self.model = load_weights(Sam2Model, folder, device=device)
        self.device = device
        self.in_batches = AdaptiveBatch(BOXES_PER_BATCH, "SAM2")
        config = get_image_processor_config(folder)
        self.side = config.get("size", {}).get("height", self.model.prompt_encoder.input_image_size)
        self.mean = config.get("image_mean", IMAGENET_DEFAULT_MEAN)
        self.std = config.get("image_std", IMAGENET_DEFAULT_STD)

    @torch.inference_mode()
    def segment(
        self, image: Image.Image, boxes: list[tuple[float, float, float, float]]
    ) -> tuple[np.ndarray, np.ndarray]:
        """The mask of the object in each box, and SAM2's confidence in it.

        boxes: x0, y0, x1, y1 in pixels of the image. Returns masks, bool (boxes, height, width),
        and confidences, float (boxes,), which are SAM2's estimates of the IoU (section 3).
        """
        if not len(boxes):
            return np.zeros((0, image.height, image.width), dtype=bool), np.zeros(0)
        embeddings = self.model.get_image_embeddings(self._preprocess(image))

        def segment_batch(boxes):
            output = self.model(
                image_embeddings=embeddings,
                input_boxes=self._scale_boxes(boxes, image.size),
                multimask_output=False,
            )
            # pred_masks is (1, boxes, 1, rows, columns): one image, and one mask for each box.
            logits = interpolate(
                output.pred_masks[0],
                (image.height, image.width),
                mode="bilinear",
                align_corners=False,
            )
            return (logits[:, 0] > 0).cpu().numpy(), output.iou_scores[0, :, 0].cpu().numpy()

        masks, confidences = zip(*self.in_batches(segment_batch, boxes), strict=True)
        return np.concatenate(masks), np.concatenate(confidences)

    def _preprocess(self, image: Image.Image) -> torch.Tensor:
        """The image, resized and normalised, (1, 3, side, side)."""
        image = image.convert("RGB").resize((self.side, self.side), Image.Resampling.BILINEAR)
        pixels = torch.tensor(np.asarray(image), device=self.device) / 255
        mean, std = (torch.tensor(values, device=self.device) for values in (self.mean, self.std))
        return ((pixels - mean) / std).permute(2, 0, 1)[None]

    def _scale_boxes(self, boxes: list, size: tuple[int, int]) -> torch.Tensor:
        """The boxes in pixels of the resized image, float32 (1, boxes, 4)."""
        width, height = size
        scale = torch.tensor([self.side / width, self.side / height] * 2)
        return (torch.tensor(boxes, dtype=torch.float32) * scale)[None].to(self.device)

"""SAM2: from boxes to masks, each with the model's confidence."""

import numpy as np
import torch
from PIL import Image
from torch.nn.functional import interpolate
from transformers import Sam2Model
from transformers.image_utils import IMAGENET_DEFAULT_MEAN, IMAGENET_DEFAULT_STD
from transformers.models.auto.image_processing_auto import get_image_processor_config

from headimpact.guards import AdaptiveBatch
from headimpact.models.weights import load_weights

TOGETHER = 32  # boxes at a time, for memory


class Segmenter:
    """SAM2 in float32, since box coordinates do not survive bfloat16.

    folder: a checkpoint of SAM2; the video model's weights serve. The side, mean and standard
    deviation of its images are its preprocessor's. Raises ValueError if weights are missing.
    """

    def __init__(self, folder, device="cpu"):
        self.model = load_weights(Sam2Model, folder, device=device)
        self.device = device
        self.room = AdaptiveBatch(TOGETHER, "SAM2")
        told = get_image_processor_config(folder)
        self.side = told.get("size", {}).get("height", self.model.prompt_encoder.input_image_size)
        self.mean = told.get("image_mean", IMAGENET_DEFAULT_MEAN)
        self.std = told.get("image_std", IMAGENET_DEFAULT_STD)

    @torch.inference_mode()
    def segment(self, image, boxes):
        """The mask of each box, and SAM2's own estimate of its IoU (section 3: confidence).

        image: a PIL image. boxes: n boxes (x0, y0, x1, y1), pixels of the image. Returns masks,
        bool (n, height, width), and confidences, float (n,).
        """
        if not len(boxes):
            return np.zeros((0, image.height, image.width), dtype=bool), np.zeros(0)
        seen = self.model.get_image_embeddings(self._pixels(image))

        def some(boxes):
            found = self.model(
                image_embeddings=seen,
                input_boxes=self._scaled(boxes, image.size),
                multimask_output=False,
            )
            # (1, n, 1, rows, columns): one image, one mask a box
            logits = interpolate(
                found.pred_masks[0],
                (image.height, image.width),
                mode="bilinear",
                align_corners=False,
            )
            return (logits[:, 0] > 0).cpu().numpy(), found.iou_scores[0, :, 0].cpu().numpy()

        masks, confidences = zip(*self.room(some, boxes), strict=True)
        return np.concatenate(masks), np.concatenate(confidences)

    def _pixels(self, image):
        """The image as the model wants it: (1, 3, side, side)."""
        image = image.convert("RGB").resize((self.side, self.side), Image.Resampling.BILINEAR)
        pixels = torch.tensor(np.asarray(image), device=self.device) / 255
        mean, std = (torch.tensor(values, device=self.device) for values in (self.mean, self.std))
        return ((pixels - mean) / std).permute(2, 0, 1)[None]

    def _scaled(self, boxes, size):
        """Boxes on the resized image: float32 (1, n, 4)."""
        width, height = size
        scale = torch.tensor([self.side / width, self.side / height] * 2)
        return (torch.tensor(boxes, dtype=torch.float32) * scale)[None].to(self.device)

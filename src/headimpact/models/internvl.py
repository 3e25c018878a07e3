"""InternVL3: tiles of the image, then the whole image once more, unless it is a single tile."""

import torch
from transformers.models.got_ocr2.image_processing_pil_got_ocr2 import get_optimal_tiled_canvas

from headimpact.models.chat import ChatFamily
from headimpact.models.family import Tile, TokenGrid


class InternVL(ChatFamily):
    model_type = "internvl"
    image_text = "<IMG_CONTEXT>"
    decoder = "model.language_model"
    prompts = "chat"
    join_features = torch.cat

    def pixels(self, images):
        # by itself the image processor makes one tile; InternVLProcessor asks it for several
        return dict(self.image_processor(images=images, crop_to_patches=True, return_tensors="pt"))

    @torch.no_grad()
    def features(self, model, pixels):
        tiles = super().features(model, {"pixel_values": pixels["pixel_values"]})
        images = torch.stack(tiles).split(pixels["num_patches"].tolist())
        return [image.flatten(0, 1) for image in images]

    def _grid(self, width, height):
        vision, processor = self.config.vision_config, self.image_processor
        side = int(vision.image_size[0] // vision.patch_size[0] * self.config.downsample_ratio)
        columns, rows = get_optimal_tiled_canvas(
            (height, width),
            (processor.size["height"], processor.size["width"]),
            processor.min_patches,
            processor.max_patches,
        )
        # the image is stretched until it fills all tiles
        x, y = width / columns, height / rows
        boxes = [
            (column * x, row * y, (column + 1) * x, (row + 1) * y)
            for row in range(rows)
            for column in range(columns)
        ]
        if len(boxes) > 1:
            boxes.append((0, 0, width, height))
        return TokenGrid(tuple(Tile(side, side, box) for box in boxes))

    def placeholder(self, grid):
        return f"<img>{self.image_text * grid.tokens}</img>"

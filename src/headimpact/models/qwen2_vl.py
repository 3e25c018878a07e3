"""Qwen2-VL: as many tokens as the image has 2 x 2 patches, with positions of three axes."""

import torch
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import smart_resize

from headimpact.models.chat import ChatFamily
from headimpact.models.family import Tile, TokenGrid


class Qwen2VL(ChatFamily):
    model_type = "qwen2_vl"
    decoder = "model.language_model"
    prompts = "chat"
    image_text = "<|image_pad|>"

    def pixels(self, images):
        return dict(self.image_processor(images=images, return_tensors="pt"))

    def _grid(self, width, height):
        processor = self.image_processor
        factor = processor.patch_size * processor.merge_size
        size = processor.size
        resized = smart_resize(
            height, width, factor, min_pixels=size["shortest_edge"], max_pixels=size["longest_edge"]
        )
        rows, columns = (side // factor for side in resized)
        return TokenGrid((Tile(rows, columns, (0, 0, width, height)),))

    def placeholder(self, grid):
        return self.image_text * grid.tokens

    def positions(self, ids, grid):
        # text counts on all three axes; the image stays at one time and spreads over two axes
        (tile,) = grid.tiles
        begin, tokens = ids.index(self.image_token), grid.tokens
        before = torch.arange(begin).expand(3, -1)
        image = torch.arange(tokens)
        image = torch.stack([torch.zeros_like(image), image // tile.columns, image % tile.columns])
        behind = torch.arange(len(ids) - begin - tokens) + max(tile.rows, tile.columns)
        return torch.cat([before, image + begin, behind.expand(3, -1) + begin], 1)

    def arrange_positions(self, positions):
        return positions.transpose(0, 1)

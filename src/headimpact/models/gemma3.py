"""Gemma 3: a fixed square grid; the image's tokens see each other in both directions."""

import math

import torch

from headimpact.models.chat import ChatFamily
from headimpact.models.family import Tile, TokenGrid


class Gemma3(ChatFamily):
    model_type = "gemma3"
    image_text = "<image_soft_token>"
    template_image = "<start_of_image>"
    decoder = "model.language_model"
    prompts = "chat"
    attention_pattern = "image"
    join_features = torch.cat

    def pixels(self, images):
        # as Gemma3Processor asks for: the whole image, without crops of it
        batch = self.image_processor(images=images, do_pan_and_scan=False, return_tensors="pt")
        return {"pixel_values": batch["pixel_values"]}

    def _grid(self, width, height):
        side = math.isqrt(self.config.mm_tokens_per_image)
        return TokenGrid((Tile(side, side, (0, 0, width, height)),))

    def placeholder(self, grid):
        return f"\n\n<start_of_image>{self.image_text * grid.tokens}<end_of_image>\n\n"

    def token_types(self, ids, grid, is_prompt):
        return {"token_type_ids": (ids == self.image_token).long()}

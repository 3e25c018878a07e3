"""PaliGemma and PaliGemma2: a fixed square grid; image and prompt see each other both ways."""

import torch

from headimpact.models.family import Family, Tile, TokenGrid


class PaliGemma2(Family):
    model_type = "paligemma"
    image_text = "<image>"
    decoder = "model.language_model"
    prompts = "paligemma"
    attention_pattern = "prefix"
    answer_end = "<eos>"
    join_features = torch.cat

    def pixels(self, images):
        return dict(self.image_processor(images=images, return_tensors="pt"))

    def _grid(self, width, height):
        vision = self.config.vision_config
        side = vision.image_size // vision.patch_size
        return TokenGrid((Tile(side, side, (0, 0, width, height)),))

    def placeholder(self, grid):
        return self.image_text * grid.tokens

    def conversation(self, grid, user, answer):
        # as PaliGemmaProcessor writes it: images, <bos>, prompt, line break, then the suffix
        return f"{self.placeholder(grid)}{self.tokenizer.bos_token}{user}\n{answer}"

    def positions(self, ids, grid):
        return torch.arange(1, len(ids) + 1)[None]

    def token_types(self, ids, grid, is_prompt):
        return {"token_type_ids": (~is_prompt).long()}

"""Idefics3 and SmolVLM: tiles of the image, then the whole image once more."""

from PIL import Image

from headimpact.models.chat import ChatFamily
from headimpact.models.family import Tile, TokenGrid


class Idefics3(ChatFamily):
    model_type = "idefics3"
    decoder = "model.text_model"
    prompts = "chat"
    image_text = "<image>"

    @property
    def _side(self):
        """Image tokens along one side of a tile."""
        vision = self.config.vision_config
        return vision.image_size // vision.patch_size // self.config.scale_factor

    def pixels(self, images):
        batch = self.image_processor(images=[[image] for image in images], return_tensors="pt")
        return {name: batch[name] for name in ("pixel_values", "pixel_attention_mask")}

    def _grid(self, width, height):
        # asked of the processor itself: its helper that counts tiles rounds in another order
        blank = Image.new("RGB", (width, height))
        batch = self.image_processor(images=[[blank]], return_row_col_info=True)
        rows, columns = batch["rows"][0][0], batch["cols"][0][0]
        tile_width, tile_height = width / max(columns, 1), height / max(rows, 1)
        tiles = [
            self._tile(c * tile_width, r * tile_height, tile_width, tile_height)
            for r in range(rows)
            for c in range(columns)
        ]
        return TokenGrid((*tiles, self._tile(0, 0, width, height)))

    def _tile(self, x, y, width, height):
        # a tile's size is no multiple of a patch's: its last pixels at the right and at the bottom
        # (6 of SmolVLM's 384) are in no patch
        vision, side = self.config.vision_config, self._side
        share = side * self.config.scale_factor * vision.patch_size / vision.image_size
        return Tile(side, side, (x, y, x + share * width, y + share * height))

    def placeholder(self, grid):
        # as Idefics3Processor writes it
        tokens = "<image>" * self._side**2
        overview = f"<fake_token_around_image><global-img>{tokens}<fake_token_around_image>"
        tiles = grid.tiles[:-1]
        if not tiles:
            return overview
        columns = sum(tile.box[1] == tiles[0].box[1] for tile in tiles)
        rows = [
            "".join(
                f"<fake_token_around_image><row_{r + 1}_col_{c + 1}>{tokens}"
                for c in range(columns)
            )
            for r in range(len(tiles) // columns)
        ]
        return "".join(f"{row}\n" for row in rows) + f"\n{overview}"

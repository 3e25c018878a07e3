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
        """Visual tokens along one side of a tile."""
        vision = self.config.vision_config
        return vision.image_size // vision.patch_size // self.config.scale_factor

    def pixels(self, images):
        batch = self.image_processor(images=[[image] for image in images], return_tensors="pt")
        return {name: batch[name] for name in ("pixel_values", "pixel_attention_mask")}

    def _grid(self, width, height):
        # the processor's own answer: its helper for counting rounds in another order
        blank = Image.new("RGB", (width, height))
        batch = self.image_processor(images=[[blank]], return_row_col_info=True)
        rows, columns = batch["rows"][0][0], batch["cols"][0][0]
        across, down = width / max(columns, 1), height / max(rows, 1)
        tiles = [
            self._tile(c * across, r * down, across, down)
            for r in range(rows)
            for c in range(columns)
        ]
        return TokenGrid((*tiles, self._tile(0, 0, width, height)))

    def _tile(self, x, y, width, height):
        # patches leave out what is left of a tile at its right and bottom: 6 of SmolVLM's 384
        vision, side = self.config.vision_config, self._side
        seen = side * self.config.scale_factor * vision.patch_size / vision.image_size
        return Tile(side, side, (x, y, x + seen * width, y + seen * height))

    def placeholder(self, grid):
        # as Idefics3Processor writes it
        visual = "<image>" * self._side**2
        whole = f"<fake_token_around_image><global-img>{visual}<fake_token_around_image>"
        tiles = grid.tiles[:-1]
        if not tiles:
            return whole
        columns = sum(tile.box[1] == tiles[0].box[1] for tile in tiles)
        rows = [
            "".join(
                f"<fake_token_around_image><row_{r + 1}_col_{c + 1}>{visual}"
                for c in range(columns)
            )
            for r in range(len(tiles) // columns)
        ]
        return "".join(f"{row}\n" for row in rows) + f"\n{whole}"

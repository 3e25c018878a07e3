"""LLaVA-1.5: a fixed grid over the square in the middle of the image; the rest is cut off."""

from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from headimpact.guards import UserError
from headimpact.models.chat import ChatFamily
from headimpact.models.family import Tile, TokenGrid


class Llava(ChatFamily):
    model_type = "llava"
    image_text = "<image>"
    decoder = "model.language_model"
    prompts = "chat"

    def __init__(self, config, tokenizer, image_processor):
        super().__init__(config, tokenizer, image_processor)
        if not isinstance(image_processor, CLIPImageProcessorPil):
            raise UserError(
                f"preprocessor_config.json: {type(image_processor).__name__} is not the image "
                "processor of LLaVA-1.5, CLIPImageProcessor; name another checkpoint"
            )

    def pixels(self, images):
        return dict(self.image_processor(images=images, return_tensors="pt"))

    def _grid(self, width, height):
        # the shorter edge is resized to `shortest_edge`, then the middle is cut out
        vision, processor = self.config.vision_config, self.image_processor
        side = vision.image_size // vision.patch_size
        starts, stops = [], []
        for name, edge in (("width", width), ("height", height)):
            resized = int(processor.size["shortest_edge"] * edge / min(width, height))
            start = (resized - processor.crop_size[name]) // 2
            starts.append(start * edge / resized)
            stops.append((start + side * vision.patch_size) * edge / resized)
        return TokenGrid((Tile(side, side, (*starts, *stops)),))

    def placeholder(self, grid):
        return self.image_text * grid.tokens

"""Florence-2 finds the phrases of a caption in an image and draws a box around each."""

from pathlib import Path

import torch
from PIL.Image import Image
from transformers import (
    AutoImageProcessor,
    AutoTokenizer,
    Florence2Config,
    Florence2ForConditionalGeneration,
    Florence2Processor,
)

from headimpact.guards import UserError
from headimpact.models.weights import load_weights, read_checkpoint

TASK = "<CAPTION_TO_PHRASE_GROUNDING>"  # section 3 of the paper
BINS = 1000  # each side of an image has so many bins, with one location token each
# These are the values of the model card, except for no_repeat_ngram_size. The authors' published
# boxes show that they set it: where three tokens would repeat, a box is one bin smaller.
GENERATION = {
    "num_beams": 3,
    "do_sample": False,
    "early_stopping": False,
    "max_new_tokens": 1024,
    "no_repeat_ngram_size": 3,
}


class Grounder:
    """Florence-2 with its processor, in float32.

    folder: a checkpoint in transformers' own layout (florence-community's, not microsoft's).
    Raises UserError for any other layout and if weights are missing.
    """

    def __init__(self, folder: str | Path, device: str = "cpu"):
        self.processor = _load_processor(folder)
        self.model = load_weights(Florence2ForConditionalGeneration, folder, device=device)
        self.device = device

    @torch.inference_mode()
    def ground(
        self, images: list[Image], captions: list[str]
    ) -> list[list[tuple[str, tuple[float, float, float, float]]]]:
        """The phrases of each image's caption that Florence-2 finds in it, as (phrase, box).

        captions: one for each image. box: x0, y0, x1, y1 in pixels of the image. A phrase with
        several boxes is listed once for each of them. A phrase may be empty, and a box may have
        no area.
        """
        if not images:
            return []
        rgb_images = [image.convert("RGB") for image in images]
        pixels = self.processor.image_processor(images=rgb_images, return_tensors="pt")
        inputs = self.processor.tokenizer.pad(
            {"input_ids": [self._tokenize(caption) for caption in captions]},
            padding_side="right",
            return_tensors="pt",
        )
        generated_ids = self.model.generate(
            **inputs.to(self.device),
            pixel_values=pixels["pixel_values"].to(self.device),
            **GENERATION,
        )
        texts = self.processor.batch_decode(generated_ids, skip_special_tokens=False)
        return [
            self._parse_boxes(text, image.size) for text, image in zip(texts, images, strict=True)
        ]

    def _tokenize(self, caption: str) -> list[int]:
        """Token ids of the image, the task and a caption, which is truncated if it is too long.

        The ids are those of the processor, which is not called itself because it refuses captions
        that contain the name of a task or the image token.
        """
        tokenizer, text_config = self.processor.tokenizer, self.model.config.text_config
        other_tokens = self.processor.num_image_tokens + 2  # the 2 are the text's first and last
        prompt = self.processor.task_prompts_with_input[TASK].format(input=caption.strip())
        ids = tokenizer(
            prompt,
            add_special_tokens=False,
            split_special_tokens=True,
            truncation=True,
            max_length=text_config.max_position_embeddings - other_tokens,
        )["input_ids"]
        image_ids = [tokenizer.image_token_id] * self.processor.num_image_tokens
        return [*image_ids, tokenizer.bos_token_id, *ids, tokenizer.eos_token_id]

    def _parse_boxes(
        self, text: str, size: tuple[int, int]
    ) -> list[tuple[str, tuple[float, float, float, float]]]:
        """The (phrase, box) pairs in the generated text; size: width and height of the image."""
        # The processor rounds to whole pixels. With an image size of BINS x BINS,
        # the pixels are the bins, and nothing is rounded.
        grounding = self.processor.post_process_generation(
            text, task=TASK, image_size=(BINS, BINS)
        )[TASK]
        return [
            (phrase, tuple((n + 0.5) * side / BINS for n, side in zip(bins, 2 * size, strict=True)))
            for phrase, bins in zip(grounding["labels"], grounding["bboxes"], strict=True)
        ]


def _load_processor(folder: str | Path) -> Florence2Processor:
    # The image processor and the tokenizer are loaded separately, because
    # Florence2Processor.from_pretrained passes `backend` to the tokenizer too. The PIL backend
    # computes the same on every machine and does not need torchvision.
    config, _ = Florence2Config.get_config_dict(folder)
    if config.get("text_config", {}).get("model_type") == "florence2_language":
        raise UserError(
            f"{folder}: not in transformers' own layout; name florence-community's "
            f"checkpoint of Florence-2"
        )
    processor_config, _ = Florence2Processor.get_processor_dict(folder)
    # Without a list of banned phrases in the checkpoint, no phrase is banned.
    if not processor_config.get("post_processor_config"):
        processor_config["post_processor_config"] = {"phrase_grounding": {}}
    image_processor = read_checkpoint(AutoImageProcessor, folder, backend="pil")
    tokenizer = read_checkpoint(AutoTokenizer, folder)
    return Florence2Processor.from_args_and_dict([image_processor, tokenizer], processor_config)

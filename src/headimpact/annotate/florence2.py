"""Florence-2: from a caption to its phrases, each with the boxes that show it."""

import torch
from transformers import (
    AutoImageProcessor,
    AutoTokenizer,
    Florence2Config,
    Florence2ForConditionalGeneration,
    Florence2Processor,
)

from headimpact.guards import UserError
from headimpact.models.weights import load_weights, read_checkpoint

TASK = "<CAPTION_TO_PHRASE_GROUNDING>"  # section 3
BINS = 1000  # a side's, one location token each
# the model card's, and the last by the authors' boxes: one bin less where three tokens would recur
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
    Raises ValueError for any other layout and if weights are missing.
    """

    def __init__(self, folder, device="cpu"):
        self.processor = _processor(folder)
        self.model = load_weights(Florence2ForConditionalGeneration, folder, device=device)
        self.device = device

    @torch.inference_mode()
    def ground(self, images, captions):
        """For each image, what of its caption Florence-2 finds: a list of (phrase, box).

        images: PIL images. captions: one (str) an image. box: (x0, y0, x1, y1), float pixels of
        the image. A phrase with several boxes comes several times; it may be empty, and a box
        may have no area.
        """
        if not images:
            return []
        pictures = [image.convert("RGB") for image in images]
        pixels = self.processor.image_processor(images=pictures, return_tensors="pt")
        tokens = self.processor.tokenizer.pad(
            {"input_ids": [self._tokens(caption) for caption in captions]},
            padding_side="right",
            return_tensors="pt",
        )
        written = self.model.generate(
            **tokens.to(self.device),
            pixel_values=pixels["pixel_values"].to(self.device),
            **GENERATION,
        )
        texts = self.processor.batch_decode(written, skip_special_tokens=False)
        return [self._boxes(text, image.size) for text, image in zip(texts, images, strict=True)]

    def _tokens(self, caption):
        """What the processor makes of the task and a caption; one that is too long loses its end.

        The processor itself refuses captions that hold a task's name or the image's token.
        """
        tokenizer, text = self.processor.tokenizer, self.model.config.text_config
        around = self.processor.num_image_tokens + 2
        prompt = self.processor.task_prompts_with_input[TASK].format(input=caption.strip())
        ids = tokenizer(
            prompt,
            add_special_tokens=False,
            split_special_tokens=True,
            truncation=True,
            max_length=text.max_position_embeddings - around,
        )["input_ids"]
        image = [tokenizer.image_token_id] * self.processor.num_image_tokens
        return [*image, tokenizer.bos_token_id, *ids, tokenizer.eos_token_id]

    def _boxes(self, text, size):
        """(phrase, box) of what was written about an image of `size` (width, height)."""
        # the processor rounds to whole pixels: on this grid they are the bins
        found = self.processor.post_process_generation(text, task=TASK, image_size=(BINS, BINS))
        return [
            (phrase, tuple((n + 0.5) * side / BINS for n, side in zip(bins, 2 * size, strict=True)))
            for phrase, bins in zip(found[TASK]["labels"], found[TASK]["bboxes"], strict=True)
        ]


def _processor(folder):
    # in parts, since Florence2Processor.from_pretrained hands the images' backend to the tokenizer
    # too; PIL's computes the same on every machine and needs no torchvision
    told, _ = Florence2Config.get_config_dict(folder)
    if told.get("text_config", {}).get("model_type") == "florence2_language":
        raise UserError(
            f"{folder}: not in transformers' own layout; name florence-community's "
            f"checkpoint of Florence-2"
        )
    told, _ = Florence2Processor.get_processor_dict(folder)
    # a checkpoint that does not say which phrases are none keeps them all
    told["post_processor_config"] = told.get("post_processor_config") or {"phrase_grounding": {}}
    images = read_checkpoint(AutoImageProcessor, folder, backend="pil")
    tokenizer = read_checkpoint(AutoTokenizer, folder)
    return Florence2Processor.from_args_and_dict([images, tokenizer], told)

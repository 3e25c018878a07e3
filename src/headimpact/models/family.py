"""What a model family must answer, so that nothing outside models/ asks which family it is."""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
import torch
from transformers.modeling_outputs import BaseModelOutputWithPooling

from headimpact.guards import UserError


@dataclass(frozen=True)
class Tile:
    """A regular grid of visual tokens over `box`: x0, y0, x1, y1, pixels of the original image."""

    rows: int
    columns: int
    box: tuple


@dataclass(frozen=True)
class TokenGrid:
    """Where each visual token of one image looks; tiles stand in the order of the sequence."""

    tiles: tuple

    @property
    def tokens(self):
        """Number of visual tokens."""
        return sum(tile.rows * tile.columns for tile in self.tiles)

    @property
    def spans(self):
        """For each tile the (start, stop) of its tokens."""
        stops = np.cumsum([tile.rows * tile.columns for tile in self.tiles]).tolist()
        return list(zip([0, *stops[:-1]], stops, strict=True))

    @cached_property
    def rectangles(self):
        """float64 (tokens, 4): the part of the original image that each visual token sees."""
        parts = []
        for tile in self.tiles:
            x0, y0, x1, y1 = tile.box
            xs = np.linspace(x0, x1, tile.columns + 1)
            ys = np.linspace(y0, y1, tile.rows + 1)
            left, top = np.meshgrid(xs[:-1], ys[:-1])
            right, bottom = np.meshgrid(xs[1:], ys[1:])
            parts.append(np.stack([left, top, right, bottom], -1).reshape(-1, 4))
        return np.concatenate(parts)


@dataclass(frozen=True)
class Sequence:
    """One conversation as token ids, cut behind its target; the target is ids[start:]."""

    ids: tuple
    start: int


class Family(ABC):
    """A model class together with its checkpoint's tokenizer and image processor.

    A new family is one new file: it fills in the class attributes and abstract methods.
    """

    model_type: str  # as in the checkpoint's config.json
    image_text: str  # stands for one visual token, or, in a chat template, for an image
    decoder: str  # path of the language model inside the model class
    prompts: str  # which of headimpact.models.prompts it was trained with
    prompt_sees_both_ways = False  # whether image and prompt attend to what follows them, too
    end = ""  # what ends an answer, where the chat template does not write it

    def __init__(self, config, tokenizer, image_processor):
        self.config = config
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.grid = lru_cache(maxsize=4096)(self._grid)

    @property
    def layers(self):
        """Number of decoder layers."""
        return self.config.get_text_config().num_hidden_layers

    @property
    def heads(self):
        """Number of attention heads of a decoder layer."""
        return self.config.get_text_config().num_attention_heads

    @property
    def image_token(self):
        """Id of the token that stands for one visual token."""
        return self.config.image_token_id

    # ------------------------------------------------------------------ images

    @abstractmethod
    def pixels(self, images):
        """The image processor's tensors (dict) for RGB `images` (list of PIL images)."""

    @abstractmethod
    def _grid(self, width, height):
        """The TokenGrid of an image of that size; `grid` is its cached form."""

    @abstractmethod
    def placeholder(self, grid):
        """The text that stands for one image in the prompt."""

    @torch.no_grad()
    def features(self, model, pixels):
        """What the vision tower and projector make of images; pixels: what `pixels` gave for them.

        Returns a list of tensors, each (visual tokens, hidden size), on the model's device.
        """
        tensors = {name: value.to(model.device) for name, value in pixels.items()}
        features = model.get_image_features(**tensors).pooler_output
        return [part.reshape(-1, part.shape[-1]) for part in features]

    def encoder_outputs(self, features):
        """Those features in the form that the model's forward takes as `mm_encoder_outputs`."""
        return {"image": BaseModelOutputWithPooling(pooler_output=list(features))}

    # ------------------------------------------------------------------ text

    @abstractmethod
    def conversation(self, grid, user, answer):
        """The whole prompt as text: image, user's text and the assistant's `answer`, untrimmed."""

    def sequence(self, grid, user, template, target):
        """Tokenise one conversation up to the end of `target`.

        template: the assistant's text with {target} in it. Returns a Sequence. A token that
        holds a character of the target belongs to the target.
        """
        answer = template.format(target=target)
        text = self.conversation(grid, user, answer)
        begin = text.rindex(answer) + template.index("{target}")
        return self._cut(text, begin, begin + len(target))

    @lru_cache(maxsize=65536)  # noqa: B019 - a family lives as long as its process
    def _cut(self, text, begin, end):
        encoding = self.tokenizer(text, add_special_tokens=False, return_offsets_mapping=True)
        inside = [i for i, (a, b) in enumerate(encoding["offset_mapping"]) if a < end and b > begin]
        if not inside:
            raise UserError(f"the tokenizer has no token for {text[begin:end]!r}")
        return Sequence(tuple(encoding["input_ids"][: inside[-1] + 1]), inside[0])

    # ------------------------------------------------------------------ the model's inputs

    def positions(self, ids, grid):
        """Position ids of a whole sequence, LongTensor (axes, length)."""
        return torch.arange(len(ids))[None]

    def arrange(self, positions):
        """Stack position ids of a batch, (batch, axes, length), as the model takes them."""
        return positions[:, 0]

    def text_inputs(self, starts, length):
        """What else the model wants beside ids, mask and positions, for sequences of `length`.

        starts: for each sequence, the length of its prompt.
        """
        return {}

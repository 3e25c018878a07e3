"""The contract of a model family: nothing outside models/ asks which family a model is of."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Literal

import numpy as np
import torch
from PIL.Image import Image
from transformers import PreTrainedConfig
from transformers.modeling_outputs import BaseModelOutputWithPooling

from headimpact.guards import UserError


@dataclass(frozen=True)
class Tile:
    """A regular grid of image tokens over `box`: x0, y0, x1, y1, pixels of the original image."""

    rows: int
    columns: int
    box: tuple[float, float, float, float]


@dataclass(frozen=True)
class TokenGrid:
    """Which part of an image each of its tokens covers; tiles are in the order of the sequence."""

    tiles: tuple[Tile, ...]

    @property
    def tokens(self) -> int:
        """Number of image tokens."""
        return sum(tile.rows * tile.columns for tile in self.tiles)

    @property
    def spans(self) -> list[tuple[int, int]]:
        """For each tile the (start, stop) of its tokens."""
        stops = np.cumsum([tile.rows * tile.columns for tile in self.tiles]).tolist()
        return list(zip([0, *stops[:-1]], stops, strict=True))

    @cached_property
    def rectangles(self) -> np.ndarray:
        """The part of the original image that each token covers, float64 (tokens, 4): x0, y0, x1,
        y1."""
        rectangles = []
        for tile in self.tiles:
            x0, y0, x1, y1 = tile.box
            xs = np.linspace(x0, x1, tile.columns + 1)
            ys = np.linspace(y0, y1, tile.rows + 1)
            left, top = np.meshgrid(xs[:-1], ys[:-1])
            right, bottom = np.meshgrid(xs[1:], ys[1:])
            rectangles.append(np.stack([left, top, right, bottom], -1).reshape(-1, 4))
        return np.concatenate(rectangles)


@dataclass(frozen=True)
class Sequence:
    """Token ids of one conversation up to the end of its target, which is ids[start:]."""

    ids: tuple[int, ...]
    start: int


@dataclass(frozen=True, eq=False)
class EncodedImage:
    """An image as the decoder takes it; two of them are equal only if they are the same object.

    features: (image tokens, hidden), as `Family.features` gives for the image. grid: the image's
    TokenGrid. name: what an error calls the image.
    """

    features: torch.Tensor
    grid: TokenGrid
    name: str = "the image"


class Family(ABC):
    """A model class together with a checkpoint's tokenizer and image processor.

    A new family is one new file: it fills in the class attributes and abstract methods.
    """

    model_type: str  # as in the checkpoint's config.json
    image_text: str  # text of one image token
    decoder: str  # path of the language model inside the model class
    prompts: str  # the entry of headimpact.models.prompts with which it was trained
    answer_end = ""  # text that ends an answer, where no chat template writes it

    # What the decoder's attention adds to causal attention: "causal" adds nothing; "prefix": image
    # and prompt see each other in both directions, and the target is causal; "image": the image's
    # tokens see each other in both directions, and all text is causal.
    attention_pattern: Literal["causal", "prefix", "image"] = "causal"

    # What the model takes several images' features as: a list, or with torch.cat a single tensor.
    join_features: Callable[[list[torch.Tensor]], list[torch.Tensor] | torch.Tensor] = list

    def __init__(self, config: PreTrainedConfig, tokenizer, image_processor):
        self.config = config
        self.tokenizer = tokenizer
        self.image_processor = image_processor
        self.grid = lru_cache(maxsize=4096)(self._grid)

    @property
    def layers(self) -> int:
        """Number of decoder layers."""
        return self.config.get_text_config().num_hidden_layers

    @property
    def heads(self) -> int:
        """Number of attention heads of a decoder layer."""
        return self.config.get_text_config().num_attention_heads

    @property
    def deepstack_layers(self) -> int:
        """Behind how many of the lowest decoder layers image features are added once more.

        From the layer of this number on, a layer's input holds all that comes from the image.
        DeepStack: arXiv 2406.04334.
        """
        return 0

    @property
    def image_token(self) -> int:
        """Id of an image token."""
        return self.config.image_token_id

    # ------------------------------------------------------------------ images

    @abstractmethod
    def pixels(self, images: list[Image]) -> dict[str, torch.Tensor]:
        """The image processor's tensors for RGB images."""

    @abstractmethod
    def _grid(self, width: int, height: int) -> TokenGrid:
        """The TokenGrid of an image of that size; `grid` is its cached form."""

    @abstractmethod
    def placeholder(self, grid: TokenGrid) -> str:
        """The text of an image's tokens in the prompt, with all that surrounds them."""

    @torch.no_grad()
    def features(
        self, model: torch.nn.Module, pixels: dict[str, torch.Tensor]
    ) -> list[torch.Tensor]:
        """Image features of the vision tower and projector; pixels: as `pixels` returns them.

        Returns a tensor an image, (image tokens, hidden), on the model's device; with DeepStack,
        a multiple of hidden.
        """
        tensors = {name: value.to(model.device) for name, value in pixels.items()}
        features = model.get_image_features(**tensors).pooler_output
        return [image.reshape(-1, image.shape[-1]) for image in features]

    def encoder_outputs(
        self, features: Iterable[torch.Tensor]
    ) -> dict[str, BaseModelOutputWithPooling]:
        """Features in the form in which the model's forward takes them as `mm_encoder_outputs`."""
        joined = self.join_features(list(features))
        return {"image": BaseModelOutputWithPooling(pooler_output=joined)}

    def encoded_image(self, sample, features: torch.Tensor) -> EncodedImage:
        """The EncodedImage of a sample, a row of a table of samples, with these features."""
        name = f"sample {sample.sample_id} ({sample.file_name})"
        return EncodedImage(features, self.grid(sample.width, sample.height), name)

    # ------------------------------------------------------------------ text

    @abstractmethod
    def conversation(self, grid: TokenGrid, user: str, answer: str) -> str:
        """A conversation as text: image, user's text and the assistant's `answer`, untrimmed."""

    def sequence(self, grid: TokenGrid, user: str, template: str, target: str) -> Sequence:
        """Tokenise one conversation up to the end of `target`.

        template: the assistant's text with {target} in it. A token that holds a character of the
        target belongs to the target. Raises UserError if there is none, or if the conversation
        does not hold the text as it is.
        """
        answer = template.format(target=target)
        text = self.conversation(grid, user, answer)
        if answer not in text:
            raise UserError(
                f"the chat template changes the answer {answer!r}; remove the spaces at its ends"
            )
        begin = text.rindex(answer) + template.index("{target}")
        return self._tokenize(text, begin, begin + len(target))

    @lru_cache(maxsize=65536)  # noqa: B019 - a family lives as long as its process
    def _tokenize(self, text, begin, end):
        # as transformers' processors do: where the template writes no BOS, the tokenizer may add it
        bos = self.tokenizer.bos_token
        encoding = self.tokenizer(
            text,
            add_special_tokens=bos is None or bos not in text,
            return_offsets_mapping=True,
        )
        offsets = enumerate(encoding["offset_mapping"])
        target = [index for index, (first, last) in offsets if first < end and last > begin]
        if not target:
            raise UserError(f"the tokenizer has no token for {text[begin:end]!r}")
        return Sequence(tuple(encoding["input_ids"][: target[-1] + 1]), target[0])

    # ------------------------------------------------------------------ the model's inputs

    def positions(self, ids: tuple[int, ...], grid: TokenGrid) -> torch.Tensor:
        """Position ids of a sequence, LongTensor (axes, length)."""
        return torch.arange(len(ids))[None]

    def arrange_positions(self, positions: torch.Tensor) -> torch.Tensor:
        """Position ids of a batch, (batch, axes, length), in the shape that the model takes."""
        return positions[:, 0]

    def token_types(
        self, ids: torch.Tensor, grid: TokenGrid, is_prompt: torch.Tensor
    ) -> dict[str, torch.Tensor]:
        """Token types from which the model builds its attention mask.

        ids: LongTensor (length,). is_prompt: BoolTensor (length,), False for the target's tokens.
        Returns {input of the model: LongTensor (length,)}; nothing if the model needs none.
        """
        return {}

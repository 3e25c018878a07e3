"""Several lessons of one scene in one sequence: they share the image and do not see each other."""

from functools import lru_cache

import torch

from headimpact.miniature.lessons import Teacher
from headimpact.models.family import Family, TokenGrid
from headimpact.models.layout import Segment, lay_out, pad_layouts

HIDDEN = -1e9  # of the additive mask


class Packer:
    """Turns lessons into a batch of the model's inputs, with a 4-D mask."""

    def __init__(self, family: Family, teacher: Teacher):
        self.family, self.teacher = family, teacher
        self._encode = lru_cache(maxsize=65536)(
            lambda text: tuple(family.tokenizer(text, add_special_tokens=False)["input_ids"])
        )

    def pack(self, scenes: list[tuple[TokenGrid, list]]) -> tuple[dict, torch.Tensor]:
        """The model's inputs and the labels, LongTensor (batch, length), of scenes' lessons.

        scenes: (grid, lessons) each, a lesson being (stem, branches). A branch sees its stem and
        the image. Where image and prompt see each other (PaliGemma), the image sees a stem only
        if it is the scene's single one, as when the model is used.
        """
        layouts = [lay_out(self.family, grid, self._segments(grid, ls)) for grid, ls in scenes]
        batch = pad_layouts(layouts, self.family.tokenizer.pad_token_id)
        length = batch.ids.shape[1]
        # padding sees itself: a row that sees nothing has no softmax
        visible = torch.eye(length, dtype=torch.bool).repeat(len(layouts), 1, 1)
        for mask, layout in zip(visible, layouts, strict=True):
            mask[: len(layout), : len(layout)] = layout.visible()
        inputs = {
            "input_ids": batch.ids,
            "attention_mask": torch.zeros(visible.shape).masked_fill(~visible, HIDDEN)[:, None],
            "position_ids": self.family.arrange_positions(batch.positions),
        }
        return inputs, batch.labels

    def _segments(self, grid, lessons):
        segments = [Segment(self._encode(self.teacher.root(grid)))]
        for stem, branches in lessons:
            segments.append(Segment(self._encode(stem), parent=0))
            parent = len(segments) - 1
            segments += [Segment(self._encode(branch), parent, target=True) for branch in branches]
        return segments

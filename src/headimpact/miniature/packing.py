"""Several lessons of one scene in one sequence: they share the image, and do not see each other."""

from functools import lru_cache

import numpy as np
import torch

IGNORE = -100


class Packer:
    """Turns (grid, lessons) into a batch with a 4-D mask and restarted positions."""

    def __init__(self, family, teacher):
        self.family, self.teacher = family, teacher
        self._encode = lru_cache(maxsize=65536)(
            lambda text: tuple(family.tokenizer(text, add_special_tokens=False)["input_ids"])
        )

    def pack(self, scenes):
        """scenes: list of (grid, lessons). Returns the model's inputs (dict) and the labels.

        A lesson sees the image and itself, a branch its stem too. A family whose prompt is
        bidirectional (PaliGemma) gets that; there the image sees the prompt only where a scene
        has one lesson, as it does when the model is used.
        """
        rows = [self._row(*scene) for scene in scenes]
        length = max(len(row[0]) for row in rows)
        ids = np.full((len(rows), length), self.family.tokenizer.pad_token_id)
        labels = np.full((len(rows), length), IGNORE)
        mask = np.zeros((len(rows), length, length), bool)
        positions = torch.zeros(len(rows), rows[0][3].shape[0], length, dtype=torch.long)
        for i, (row, answer, sees, position) in enumerate(rows):
            n = len(row)
            ids[i, :n], labels[i, :n], mask[i, :n, :n] = row, answer, sees
            positions[i, :, :n] = position
        mask |= np.eye(length, dtype=bool)
        additive = torch.zeros(mask.shape).masked_fill(~torch.from_numpy(mask), -1e9)
        inputs = {
            "input_ids": torch.from_numpy(ids),
            "attention_mask": additive[:, None],
            "position_ids": self.family.arrange(positions),
        }
        return inputs, torch.from_numpy(labels)

    def _row(self, grid, lessons):
        root = self._encode(self.teacher.root(grid))
        start = self.family.positions((*root, 0), grid)
        ids, labels, positions = list(root), [IGNORE] * len(root), [start[:, :-1]]
        segments, prompt, ancestors = [0] * len(root), [True] * len(root), [{0}]

        def append(text, parent, first, spoken):
            tokens = self._encode(text)
            ids.extend(tokens)
            labels.extend(tokens if spoken else [IGNORE] * len(tokens))
            segments.extend([len(ancestors)] * len(tokens))
            prompt.extend([not spoken] * len(tokens))
            positions.append(first + torch.arange(len(tokens)))
            ancestors.append(ancestors[parent] | {len(ancestors)})
            return len(ancestors) - 1, first + len(tokens)

        for stem, branches in lessons:
            parent, behind = append(stem, 0, start[:, -1:], spoken=False)
            for branch in branches:
                append(branch, parent, behind, spoken=True)
        count = len(ancestors)
        related = np.array([[b in ancestors[a] for b in range(count)] for a in range(count)])
        segment, prompt = np.array(segments), np.array(prompt)
        visible = related[segment][:, segment]
        sees = visible & np.tri(len(ids), dtype=bool)
        if self.family.prompt_sees_both_ways:
            both = prompt[:, None] & prompt[None, :]
            sees |= both & (visible | visible.T if len(lessons) == 1 else visible)
        return ids, labels, sees, torch.cat(positions, 1)

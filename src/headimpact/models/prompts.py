"""The paper's prompts (appendix), without any model's special tokens.

The appendix prints a line break after <Image>. It is only layout: every chat template writes the
user's text directly behind the image.
"""

from dataclasses import dataclass

import torch

from headimpact.guards import UserError
from headimpact.models.family import Family, Sequence, TokenGrid
from headimpact.table_kinds import LABELS


@dataclass(frozen=True)
class Prompts:
    """The user's question and the assistant's answer, for description and multiple choice."""

    describe: str
    description: str  # holds {target}
    choose: str  # holds {options}
    choice: str  # holds {target}

    def question(self, options: list[str]) -> str:
        """The closed-ended question over four options, in the order A to D."""
        lettered = " ".join(
            f"{label}) {option}" for label, option in zip(LABELS, options, strict=True)
        )
        return self.choose.format(options=lettered)


PROMPTS = {
    "chat": Prompts(
        describe="What is this photo?",
        description="This is a photo of {target}.",
        choose="What is shown in this photo?\nChoose one of the options:\n{options}",
        choice="{target}.",
    ),
    "paligemma": Prompts(
        describe="describe en",
        description="{target}",
        choose="answer en\n{options}",
        choice="{target}.",
    ),
}


def description(family: Family, grid: TokenGrid, text: str) -> Sequence:
    """The conversation in which the assistant describes a key object (first template).

    text: the object's description. grid: the image's TokenGrid.
    """
    prompts = PROMPTS[family.prompts]
    return family.sequence(grid, prompts.describe, prompts.description, text)


def choices(family: Family, grid: TokenGrid, options: list[str]) -> list[Sequence]:
    """Four conversations, one a label A to D, about the question over `options` (second template).

    Raises UserError unless the four differ in exactly one token, the label.
    """
    prompts = PROMPTS[family.prompts]
    user = prompts.question(options)
    sequences = [family.sequence(grid, user, prompts.choice, label) for label in LABELS]
    same_prompt = len({sequence.ids[: sequence.start] for sequence in sequences}) == 1
    if not same_prompt or len({s.ids[s.start :] for s in sequences}) < len(LABELS):
        raise UserError("the labels A to D are not one token each behind the same prompt")
    if any(len(s.ids) != s.start + 1 for s in sequences):
        raise UserError("a label A to D is more than one token")
    return sequences


def question(family: Family, grid: TokenGrid, options: list[str]) -> tuple[Sequence, torch.Tensor]:
    """One sequence that predicts all four labels of the question, and their ids.

    The labels follow the same prompt, so that the prediction before the first sequence's label has
    the probabilities of all. Returns the Sequence of label A, and LongTensor (4,).
    """
    sequences = choices(family, grid, options)
    return sequences[0], torch.tensor([sequence.ids[-1] for sequence in sequences])

"""The paper's prompts (appendix), and nothing of any model's special tokens.

The line break that the appendix prints after <Image> is layout: every chat template places
the user's text directly behind the image.
"""

from dataclasses import dataclass

from headimpact.guards import UserError

LABELS = ("A", "B", "C", "D")


@dataclass(frozen=True)
class Prompts:
    """What the user asks and what the assistant answers, for description and multiple choice."""

    describe: str
    description: str  # holds {target}
    choose: str  # holds {options}
    choice: str  # holds {target}

    def question(self, options):
        """The closed-ended question over four `options` (list of str, in the order A to D)."""
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


def description(family, grid, text):
    """The Sequence in which the assistant describes a key object (first template).

    text: the object's description. grid: the image's TokenGrid.
    """
    prompts = PROMPTS[family.prompts]
    return family.sequence(grid, prompts.describe, prompts.description, text)


def choices(family, grid, options):
    """Four Sequences, one a label A to D, of the question over `options` (second template).

    Raises ValueError unless the four differ in exactly one token, the label.
    """
    prompts = PROMPTS[family.prompts]
    user = prompts.question(options)
    found = [family.sequence(grid, user, prompts.choice, label) for label in LABELS]
    first = found[0]
    alike = all(c.start == first.start and c.ids[: c.start] == first.ids[: c.start] for c in found)
    if not (alike and len({c.ids[c.start :] for c in found}) == len(LABELS)):
        raise UserError("the labels A to D are not one token each behind the same prompt")
    if any(len(c.ids) != c.start + 1 for c in found):
        raise UserError("a label A to D is more than one token")
    return found

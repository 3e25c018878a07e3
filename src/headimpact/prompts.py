"""The paper's prompt templates (appendix), and nothing of any model's special tokens.

The line break that the appendix prints after <Image> is layout: every chat template places
the user's text directly behind the image.
"""

from dataclasses import dataclass

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


CHAT = Prompts(
    describe="What is this photo?",
    description="This is a photo of {target}.",
    choose="What is shown in this photo?\nChoose one of the options:\n{options}",
    choice="{target}.",
)

PALIGEMMA = Prompts(
    describe="describe en",
    description="{target}",
    choose="answer en\n{options}",
    choice="{target}.",
)

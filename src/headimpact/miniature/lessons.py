"""The miniatures' lessons about a scene: descriptions, small questions, multiple choice."""

from dataclasses import dataclass

import numpy as np

from headimpact.dataset.scenes import COLOURS, RADII, SHAPES, describe
from headimpact.models.family import Family, TokenGrid
from headimpact.models.prompts import PROMPTS
from headimpact.table_kinds import LABELS

WORLD = [(size, colour, shape) for size in RADII for colour in COLOURS for shape in SHAPES]


@dataclass(frozen=True)
class Mix:
    """How many lessons of each kind a scene gives.

    In the small questions the queried words come last, directly before the answer: models this
    small did not learn from questions with a question mark in between.

    descriptions: of objects drawn without replacement. ask: an object's colour or size.
    is_there, is_there_full: whether a shape, or a whole description, is in the picture.
    choose_in_words, choose: multiple choice answered by description, or by letter.
    """

    descriptions: int = 0
    ask: int = 0
    is_there: int = 0
    is_there_full: int = 0
    choose_in_words: int = 0
    choose: int = 0


class Teacher:
    """Writes the lessons of a scene as (stem, branches): a prompt and its answers, as text."""

    def __init__(self, family: Family):
        self.family = family

    def root(self, grid: TokenGrid) -> str:
        """The text up to the end of the image, which all lessons share."""
        text, image = self.family.conversation(grid, "", ""), self.family.placeholder(grid)
        return text[: text.index(image) + len(image)]

    def _prompt(self, grid, user, template, targets):
        """A prompt of the paper as stem and branches, without the root."""
        prompt, answers = None, []
        for target in targets:
            answer = template.format(target=target)
            text = self.family.conversation(grid, user, answer)
            begin = text.rindex(answer) + template.index("{target}")
            prompt = text[len(self.root(grid)) : begin]
            answers.append(text[begin:].rstrip("\n") + self.family.answer_end)
        return prompt, answers

    def describe(self, grid: TokenGrid, descriptions: list[str]) -> tuple[str, list[str]]:
        """The paper's description prompt; one branch a description."""
        prompts = PROMPTS[self.family.prompts]
        return self._prompt(grid, prompts.describe, prompts.description, descriptions)

    def choose(self, grid: TokenGrid, options: list[str], answer: int) -> tuple[str, list[str]]:
        """The paper's multiple choice among two to four options; `answer` is an index."""
        prompts = PROMPTS[self.family.prompts]
        lettered = " ".join(
            f"{label}) {text}" for label, text in zip(LABELS, options, strict=False)
        )
        user = prompts.choose.format(options=lettered)
        return self._prompt(grid, user, prompts.choice, [LABELS[answer]])

    def lessons(
        self, rng: np.random.Generator, grid: TokenGrid, objects: list, mix: Mix
    ) -> list[tuple[str, list[str]]]:
        """Random lessons of one scene, as many of each kind as `mix` says."""
        order = rng.permutation(len(objects))
        lessons = []
        if mix.descriptions:
            chosen = [objects[i].description for i in order[: mix.descriptions]]
            lessons.append(self.describe(grid, chosen))
        for i in order[: mix.ask]:
            lessons.append(_ask(rng, objects[i]))
        for _ in range(mix.is_there):
            present = {item.shape for item in objects}
            absent = [shape for shape in SHAPES if shape not in present]
            yes = rng.random() < 0.5
            shape = rng.choice(sorted(present) if yes else absent)
            lessons.append((f"is there a {shape}", ["yes" if yes else "no"]))
        for _ in range(mix.is_there_full):
            item, yes = objects[rng.integers(len(objects))], rng.random() < 0.5
            name = item.description if yes else distractor(rng, objects, item)
            lessons.append((f"is there {name}", ["yes" if yes else "no"]))
        for k in range(mix.choose_in_words + mix.choose):
            options, answer = choice(rng, objects, objects[rng.integers(len(objects))])
            if k < mix.choose_in_words:
                lettered = " ".join(f"{x}) {o}" for x, o in zip(LABELS, options, strict=False))
                lessons.append((f"{lettered} shown", [options[answer]]))
            else:
                lessons.append(self.choose(grid, options, answer))
        return lessons


def _ask(rng, item):
    if rng.random() < 0.5:
        return f"What colour is the {item.shape}", [item.colour]
    return f"What size is the {item.shape}", [item.size]


def distractor(rng: np.random.Generator, objects: list, item) -> str:
    """A random description of nothing in the scene, often with words of what is in it."""
    present = {other.description for other in objects}
    while True:
        size, colour, shape = WORLD[rng.integers(len(WORLD))]
        other = objects[rng.integers(len(objects))]
        kind = rng.integers(4)
        if kind == 1:
            colour = other.colour
        elif kind == 2:
            shape = other.shape
        elif kind == 3:
            colour, shape = item.colour, other.shape
        if (colour, shape) not in {(o.colour, o.shape) for o in objects}:
            name = describe(size, colour, shape)
            if name not in present:
                return name


def choice(
    rng: np.random.Generator, objects: list, item, count: int | None = None
) -> tuple[list[str], int]:
    """Options of a multiple choice about `item`, and the index of the right one."""
    options = []
    for _ in range((count or int(rng.integers(2, 5))) - 1):
        name = distractor(rng, objects, item)
        while name in options:
            name = distractor(rng, objects, item)
        options.append(name)
    answer = int(rng.integers(len(options) + 1))
    return [*options[:answer], item.description, *options[answer:]], answer


def floor(objects: list) -> float:
    """The lowest mean negative log-likelihood (nats) that descriptions of random objects can have.

    Which object is described is not known: the best model gives each one the same probability.
    """
    names = [item.description for item in objects]
    return float(np.mean([np.log(len(names) / names.count(name)) for name in names]))

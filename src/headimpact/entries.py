"""What an entry of the registry is: a target, its options and what it needs."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

REQUIRED = object()  # the default of an option that has none


@dataclass(frozen=True)
class Option:
    """A key beside `kind` (or `name`, or `layers`) that goes to the target as a keyword argument.

    low, high: bounds of a number, inclusive. choices: all admissible values, if there are few.
    """

    default: object
    meaning: str
    types: tuple = (int, float)
    low: float | None = None
    high: float | None = None
    choices: tuple = ()

    def check(self, value) -> str | None:
        """What is wrong with a value, as text, or None."""
        if self.choices:
            known = ", ".join(map(str, self.choices))
            return None if value in self.choices else f"{value!r} is not one of {known}"
        if not isinstance(value, self.types) or (
            isinstance(value, bool) and bool not in self.types
        ):
            return f"{value!r} has the wrong type; {self.meaning}"
        above = self.low is None or value >= self.low  # false of NaN
        if not (above and (self.high is None or value <= self.high)):
            return f"{value!r} is out of range; {self.meaning}"
        return None


@dataclass(frozen=True)
class Entry:
    """One implementation. needs: what it is given, see the table that holds it."""

    target: str
    options: Mapping[str, Option] = field(default_factory=dict)
    needs: tuple[str, ...] = ()

    @property
    def module(self) -> str:
        """The full name of the module that holds the target."""
        return f"headimpact.{self.target.partition(':')[0]}"

    def load(self) -> Any:
        """The target itself."""
        return getattr(import_module(self.module), self.target.partition(":")[2])


@dataclass(frozen=True)
class FamilyEntry(Entry):
    """A subclass of `models.family.Family`. chat: whether its prompt is its chat template's."""

    model_types: tuple[str, ...] = ()
    chat: bool = True


@dataclass(frozen=True)
class AnnotatorEntry(Entry):
    """A function (folder, images, **options) -> tables "annotations" and "dropped".

    needs: "instances" (a table of that kind, also as an argument), "release" (the authors'
    masks), "model" (it runs checkpoints: it also gets device and batch, and its job a GPU).
    checkpoints: options that name a checkpoint, with its admissible model types; the function
    gets the checkpoint's folder.
    """

    checkpoints: Mapping[str, tuple[str, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class ScoreEntry(Entry):
    """A function (scores.inputs.ScoreInputs, **options) -> scores.inputs.Scores.

    needs: "attention" (where each head looks), "model" (the model itself, the images, and a GPU for
    its job), "weights" (the model on the CPU, without images). per: "head" or "layer".
    higher_is_better: whether `top` takes the highest values. title: its name in figures. nulls: a
    function (ScoreInputs, **options) -> {name: scores.nulls.Null}, for a score that needs
    "attention".
    """

    per: str = "head"
    higher_is_better: bool = True
    title: str = ""
    nulls: Entry | None = None


@dataclass(frozen=True)
class LayerChoiceEntry(Entry):
    """A function (scores.layers.Decoder, **options) -> sorted list of layers.

    needs: "score" (the layers' scores by `by`), "seed" (of the study's random draws), "published"
    (the model's name in the paper), "layers" (those of the setup that the option `to` names).
    layers_per_count: a decoder needs this many layers for each one of `count`.
    for_option: {(option, value): fields of the entry that differ for that value}.
    """

    layers_per_count: int = 1
    for_option: Mapping[tuple[str, str], Mapping[str, Any]] = field(default_factory=dict)

    def with_options(self, options: Mapping[str, Any]) -> "LayerChoiceEntry":
        """The entry as it is for the values of its options."""
        changes = {}
        for (name, value), fields in self.for_option.items():
            if options.get(name) == value:
                changes |= fields
        return replace(self, **changes)

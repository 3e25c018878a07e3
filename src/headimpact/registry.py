"""What a name in config.yaml stands for: a function or class, its options and what it needs.

An entry names its target as "module:name" below headimpact. The module is imported when the entry
is used (`load`), so that reading the configuration imports neither torch nor pandas.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from importlib import import_module
from typing import Any

from headimpact import knockout_names
from headimpact.guards import UserError

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

    needs: "attention" (where each head looks), "model" (the model itself, and a GPU for its job),
    "DESIGN_interventions" for each of DESIGNS (what the model says without some image reads), and
    "knockouts" (what it says once a window of layers reads part of the image no longer).
    per: "head" or "layer". higher_is_better: whether `top` takes the highest values. title: its
    name in figures. nulls: a function (ScoreInputs, **options) -> {name: scores.nulls.Null}, for
    a score that needs "attention".
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


_COUNT = Option(REQUIRED, "how many layers, a whole number from 1", (int,), low=1)

FAMILIES = {
    "paligemma": FamilyEntry(
        "models.paligemma2:PaliGemma2", model_types=("paligemma",), chat=False
    ),
    "qwen2_vl": FamilyEntry("models.qwen2_vl:Qwen2VL", model_types=("qwen2_vl",)),
    "idefics3": FamilyEntry("models.idefics3:Idefics3", model_types=("idefics3",)),
}

ANNOTATORS = {
    "instances": AnnotatorEntry(
        "annotate.instances:annotate",
        {
            "description": Option(
                "{article} {category}", "how a COCO category becomes a description", (str,)
            )
        },
        needs=("instances",),
    ),
    "florence2_sam2": AnnotatorEntry(
        "annotate.grounding:annotate",
        {
            "grounder": Option(
                {"checkpoint": "florence-community/Florence-2-large-ft"},
                "the checkpoint of Florence-2, a folder or a hub id, with or without revision",
                (dict,),
            ),
            "segmenter": Option(
                {"checkpoint": "facebook/sam2.1-hiera-large"},
                "the checkpoint of SAM2 (the paper gives no size)",
                (dict,),
            ),
        },
        needs=("model",),
        checkpoints={"grounder": ("florence2",), "segmenter": ("sam2", "sam2_video")},
    ),
    "release": AnnotatorEntry(
        "annotate.release:annotate",
        {
            "release": Option(
                None,
                "a folder with dataset_masks.json and masks/; null downloads the authors'",
                (str, type(None)),
            )
        },
        needs=("release",),
    ),
}

_OVERLAP = {
    "mask_share": Option(
        0.5,
        "the share of a visual token that an object covers at least, from 0 to 1, so that it "
        "counts as the object's; 0 means any coverage",
        low=0,
        high=1,
    ),
    "rings": Option(
        0, "how many rings of neighbouring tokens count as the object's, too", (int,), low=0
    ),
    "average_over": Option(
        "objects", "what D of equation (2) counts", choices=("objects", "images")
    ),
}
_KNOCKOUT = {
    "outcome": Option(
        "description", "what the model is asked", choices=tuple(knockout_names.MEASURES)
    ),
    "rows": Option(
        "description", "which tokens of the text lose reads", choices=tuple(knockout_names.ROWS)
    ),
    "source": Option(
        "object_ring", "what they no longer read", choices=tuple(knockout_names.SOURCES)
    ),
}

# Which heads lose their image reads: each one alone; random sets of them, to which coefficients
# are fitted; and random sets in other images, on which these are checked.
DESIGNS = ("single", "random", "fresh")
# What an intervention changes, and the outcome of the key `interventions` that has it.
EFFECTS = {"log_probability": "description", "kl": "description", "margin": "question"}


def _effect(default: str) -> dict[str, Option]:
    return {
        "outcome": Option(
            default,
            "what changes with the head's image reads: the description's log_probability, the kl "
            "divergence of its predictions, or the margin of the right option over the best wrong "
            "one",
            choices=tuple(EFFECTS),
        )
    }


SCORES = {
    "head_impact": ScoreEntry(
        "scores.head_impact:head_impact",
        _OVERLAP,
        needs=("attention",),
        title="Head Impact",
        nulls=Entry("scores.nulls:head_impact_nulls"),
    ),
    "specific_head_impact": ScoreEntry(
        "scores.specific:specific_head_impact",
        _OVERLAP,
        needs=("attention",),
        title="specific Head Impact",
    ),
    "ablation": ScoreEntry(
        "scores.ablation:ablation",
        _effect("kl"),
        needs=("single_interventions",),
        title="Ablation",
    ),
    "attribution": ScoreEntry(
        "scores.attribution:attribution",
        _effect("log_probability"),
        needs=("random_interventions",),
        title="Attribution",
    ),
    "knockout": ScoreEntry(
        "scores.knockout:knockout",
        _KNOCKOUT,
        needs=("knockouts",),
        per="layer",
        title="knockout (nats)",
    ),
}

LAYER_CHOICES = {
    "none": LayerChoiceEntry("scores.layers:none"),
    "all": LayerChoiceEntry("scores.layers:every"),
    "top": LayerChoiceEntry("scores.layers:top", {"count": _COUNT}, ("score",)),
    "bottom": LayerChoiceEntry("scores.layers:bottom", {"count": _COUNT}, ("score",)),
    "random": LayerChoiceEntry(
        "scores.layers:random",
        {
            "count": _COUNT,
            "rule": Option(
                "all",
                "all draws from all layers, paper from those that are neither top nor bottom by "
                "`by`; draws are distinct as long as there are sets left",
                choices=("all", "paper"),
            ),
        },
        ("seed",),
        for_option={("rule", "paper"): {"needs": ("score", "seed"), "layers_per_count": 3}},
    ),
    "matched": LayerChoiceEntry(
        "scores.layers:matched",
        {
            "to": Option(
                REQUIRED,
                "a setup whose layers are not drawn; as many layers as it has are drawn, the i-th "
                "within two of its i-th, and not all the same",
                (str,),
            )
        },
        ("seed", "layers"),
    ),
    "first": LayerChoiceEntry("scores.layers:first", {"count": _COUNT}),
    "uniform": LayerChoiceEntry("scores.layers:uniform", {"count": _COUNT}),
    "last": LayerChoiceEntry("scores.layers:last", {"count": _COUNT}),
    "published": LayerChoiceEntry("scores.layers:published", needs=("published",)),
    "list": LayerChoiceEntry(
        "scores.layers:listed", {"layers": Option(REQUIRED, "a list of layers", (list,))}
    ),
}

METHODS = {
    "lora": Entry(
        "training.lora:add_adapter",
        {
            "rank": Option(8, "a whole number from 1", (int,), low=1),
            "alpha": Option(16, "a whole number from 1", (int,), low=1),
            "dropout": Option(0, "a number from 0 to 1", low=0, high=1),
            "targets": Option(
                ["q_proj", "k_proj", "v_proj"], "names of projections of the attention", (list,)
            ),
        },
    ),
}

METRICS = {
    "accuracy": Entry("evaluation.metrics:ACCURACY"),
    "answer_probability": Entry(
        "evaluation.metrics:ANSWER_PROBABILITY",
        {
            "share_of": Option(
                "labels",
                "what the right label's probability is a share of",
                choices=("labels", "vocabulary"),
            )
        },
    ),
    "perplexity": Entry("evaluation.metrics:PERPLEXITY"),
    "log_odds": Entry("evaluation.metrics:LOG_ODDS"),
}


def options(known: Mapping[str, Option], values: Mapping) -> dict:
    """The value of each known option: those in `values`, and the defaults of the others.

    Raises UserError, "KEY: what is wrong", for a missing or inadmissible option.
    """
    resolved = {}
    for name, option in known.items():
        value = values.get(name, option.default)
        if value is REQUIRED:
            raise UserError(f"{name}: missing; say {option.meaning}")
        problem = option.check(value) if name in values else None
        if problem:
            raise UserError(f"{name}: {problem}")
        resolved[name] = value
    return resolved


def family_of(model_type: str | None) -> str | None:
    """The family that reads checkpoints of a `model_type`, as config.json has it."""
    return next((n for n, entry in FAMILIES.items() if model_type in entry.model_types), None)

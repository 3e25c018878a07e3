"""What a name in config.yaml stands for: a function or class, its options and what it needs.

An entry names its target as "module:name" below headimpact. The module is imported when the entry
is used (`load`), so that reading the configuration imports neither torch nor pandas.
"""

from collections.abc import Mapping

from headimpact import score_registry
from headimpact.entries import (
    REQUIRED,
    AnnotatorEntry,
    Entry,
    FamilyEntry,
    LayerChoiceEntry,
    Option,
)
from headimpact.guards import UserError

_COUNT = Option(REQUIRED, "how many layers, a whole number from 1", (int,), low=1)

FAMILIES = {
    "paligemma": FamilyEntry(
        "models.paligemma2:PaliGemma2", model_types=("paligemma",), chat=False
    ),
    "qwen2_vl": FamilyEntry("models.qwen2_vl:Qwen2VL", model_types=("qwen2_vl",)),
    "qwen2_5_vl": FamilyEntry("models.qwen2_5_vl:Qwen25VL", model_types=("qwen2_5_vl",)),
    "qwen3_vl": FamilyEntry("models.qwen3_vl:Qwen3VL", model_types=("qwen3_vl",)),
    "idefics3": FamilyEntry("models.idefics3:Idefics3", model_types=("idefics3",)),
    "smolvlm": FamilyEntry("models.smolvlm:SmolVLM", model_types=("smolvlm",)),
    "internvl": FamilyEntry("models.internvl:InternVL", model_types=("internvl",)),
    "llava": FamilyEntry("models.llava:Llava", model_types=("llava",)),
    "gemma3": FamilyEntry("models.gemma3:Gemma3", model_types=("gemma3",)),
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

SCORES = score_registry.SCORES

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

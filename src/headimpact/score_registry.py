"""The head scores that config.yaml can name: their entries in the registry."""

from headimpact import knockout_names
from headimpact.entries import Entry, Option, ScoreEntry

_AVERAGE = {
    "average_over": Option(
        "objects", "what D of equation (2) counts", choices=("objects", "images")
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
    **_AVERAGE,
}
_SINKS = {
    "heads_share": Option(
        0.5,
        "a background token that more than this share of all heads attend to, for each object of "
        "the image, is a sink; from 0 to 1",
        low=0,
        high=1,
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
    "weighted_head_impact": ScoreEntry(
        "scores.weighted:weighted_head_impact",
        _OVERLAP,
        needs=("attention",),
        title="Head Impact x mass on the image",
    ),
    "image_mass": ScoreEntry(
        "scores.image_mass:image_mass", _AVERAGE, needs=("attention",), title="mass on the image"
    ),
    "object_mass": ScoreEntry(
        "scores.object_mass:object_mass",
        _AVERAGE,
        needs=("attention",),
        title="mass on the object",
    ),
    "pointing": ScoreEntry(
        "scores.pointing:pointing", _OVERLAP, needs=("attention",), title="pointing"
    ),
    "spatial_entropy": ScoreEntry(
        "scores.spatial_entropy:spatial_entropy",
        _AVERAGE,
        needs=("attention",),
        higher_is_better=False,
        title="spatial entropy (nats)",
    ),
    "attended_share": ScoreEntry(
        "scores.attended_share:attended_share",
        _AVERAGE,
        needs=("attention",),
        higher_is_better=False,
        title="attended share",
    ),
    "head_impact_without_sinks": ScoreEntry(
        "scores.sinks:head_impact_without_sinks",
        _OVERLAP | _SINKS,
        needs=("attention",),
        title="Head Impact without sinks",
    ),
    "sink_share": ScoreEntry(
        "scores.sinks:sink_share",
        _AVERAGE | _SINKS,
        needs=("attention",),
        higher_is_better=False,
        title="share of sinks",
    ),
    "gradient_norm": ScoreEntry(
        "scores.gradient_norm:gradient_norm", needs=("model",), title="gradient norm"
    ),
    "layer_gradient_norm": ScoreEntry(
        "scores.layer_gradient_norm:layer_gradient_norm",
        {
            "relative": Option(
                True, "whether the norm is divided by that of the layer's weights", (bool,)
            )
        },
        needs=("model",),
        per="layer",
        title="relative gradient norm",
    ),
    "fisher": ScoreEntry(
        "scores.fisher:fisher", needs=("model",), per="layer", title="Fisher information"
    ),
    "head_fisher": ScoreEntry(
        "scores.fisher:head_fisher", needs=("model",), title="Fisher information of heads"
    ),
    "signal_to_noise": ScoreEntry(
        "scores.signal_to_noise:signal_to_noise",
        needs=("weights",),
        per="layer",
        title="signal-to-noise ratio",
    ),
    "cka": ScoreEntry(
        "scores.cka:cka",
        {"images": Option(128, "how many images at most, a whole number from 3", (int,), low=3)},
        needs=("model",),
        per="layer",
        title="1 - CKA",
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

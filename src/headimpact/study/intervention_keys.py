"""The keys of a study's interventions on image reads."""

from collections.abc import Mapping
from typing import Annotated, Literal

from pydantic import Field

from headimpact import score_registry
from headimpact.study.base import Component, Keys, Positive, Seed, Several, error_at, list_of

Probability = Annotated[float, Field(gt=0, lt=1)]


class Interventions(Keys):
    """What a model says once chosen heads read nothing of the image, for scores that need it."""

    variant: Literal["renormalise", "zero", "mean"] = Field(
        "renormalise",
        description="how reads are taken away: renormalise hides the image before the softmax, "
        "zero sets the weights to 0 after it, mean puts the mean value of the image's tokens in "
        "their place",
    )
    outcomes: list_of("description", "question") = Field(
        ["description", "question"], description="what the model is asked"
    )
    single_items: Positive = Field(
        50, description="images of the split impact in which one head at a time loses its reads"
    )
    items: Positive = Field(50, description="images in which random sets of heads lose theirs")
    masks: Positive = Field(24, description="such sets an image")
    keep: Probability = Field(0.25, description="how probably a head is not in such a set")
    fresh_items: Positive = Field(
        20, description="further images, on which attribution_checks.csv judges the coefficients"
    )
    fresh_masks: Positive = Field(24, description="sets of heads in each of them")
    fresh_keep: Probability = Field(0.5, description="how probably a head is not in these sets")
    batch: Positive = Field(96, description="sets of heads at a time, which share a pass")
    shards: Several = Field(1, description="jobs that share the images")
    seed: Seed = Field(0, description="of the images, their objects and the sets of heads")

    def check(self, scores: Mapping[str, Component]) -> None:
        """Raise an error if a score comes from an outcome for which no model is asked."""
        for name, score in scores.items():
            effect = score.options.get("outcome")
            outcome = score_registry.EFFECTS.get(effect)
            if outcome and outcome not in self.outcomes:
                raise error_at(
                    f"scores.{name}.outcome: {effect} comes from the {outcome}; add {outcome} to "
                    f"interventions.outcomes"
                )

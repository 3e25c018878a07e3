"""What jobs are given of the interventions of a study: their images and sets of heads."""

from collections.abc import Iterable
from typing import Any

from headimpact.guards import UserError
from headimpact.study.image_plan import Files
from headimpact.study.model_plan import ModelPlan


class InterventionPlan(ModelPlan):
    """The part of a study's plan that is about interventions on image reads, see `study.plan`."""

    def intervention_inputs(self) -> Files:
        """The questions that are asked under interventions, if any are."""
        asked = "question" in self.study.interventions.outcomes
        return {"questions": f"{self.folder}/impact_questions.parquet"} if asked else {}

    def intervention_settings(self) -> dict[str, Any]:
        """How reads are taken away, and what the model is asked."""
        return self.study.interventions.model_dump(include={"variant", "outcomes"})

    def intervention_items(self, design: str) -> dict[str, int]:
        """The arguments of `draw_items`: how many images a design has, behind how many others."""
        keys = self.study.interventions
        first, count = {
            "single": (0, keys.single_items),
            "random": (0, keys.items),
            # no image of these was used to find a coefficient
            "fresh": (keys.items, keys.fresh_items),
        }[design]
        return {"first": first, "count": count, "seed": keys.seed}

    def intervention_heads(self, design: str) -> dict[str, Any]:
        """The arguments of `ablated_heads`: which sets of heads lose their reads."""
        keys = self.study.interventions
        options = {
            "single": {},
            "random": {"masks": keys.masks, "keep": keys.keep},
            "fresh": {"masks": keys.fresh_masks, "keep": keys.fresh_keep},
        }[design]
        return {"design": design, "seed": keys.seed, **options}

    def interventions_of(self, models: Iterable[str], designs: Iterable[str]) -> list[str]:
        """Every shard of some designs of some models, model by model."""
        shards = range(self.study.interventions.shards)
        return [
            f"{self.folder}/{model}/interventions/{design}.{shard}.parquet"
            for model in models
            for design in designs
            for shard in shards
        ]

    def attribution_inputs(self) -> list[str]:
        """What attribution is fitted to and checked on, of every model.

        Raises UserError unless the study has the score.
        """
        if "attribution" not in [score.kind for score in self.study.scores.values()]:
            raise UserError(
                f"config.yaml: studies.{self.name}.scores: has no attribution to check; add "
                f"attribution: {{}}"
            )
        return self.interventions_of(self.study.models, ("random", "fresh"))

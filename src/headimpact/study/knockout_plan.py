"""What jobs are given of the knockouts of a study: their inputs, settings and tables."""

from collections.abc import Iterable
from typing import Any

from headimpact.study.image_plan import Files
from headimpact.study.intervention_plan import InterventionPlan


class KnockoutPlan(InterventionPlan):
    """The part of a study's plan that is about knockouts, see `study.plan`."""

    def knockout_inputs(self, model: str) -> Files:
        """The image tokens that objects cover, and the questions if any are asked."""
        files = {"tokens": f"{self.folder}/{model}/tokens.parquet"}
        if "question" in self.study.knockout.outcomes:
            files["questions"] = f"{self.folder}/impact_questions.parquet"
        return files

    def knockout_draw(self) -> dict[str, int]:
        """How many items are drawn, and the seed of all that is drawn."""
        return {"count": self.study.knockout.items, "seed": self.study.knockout.seed}

    def knockout_settings(self) -> dict[str, Any]:
        """What is taken away, and what the model is asked."""
        decisive = {"width", "rows", "sources", "outcomes", "variant"}
        return self.study.knockout.model_dump(include=decisive)

    def knockouts_of(self, models: Iterable[str] | None = None) -> list[str]:
        """Every shard of the knockouts of some models, or of all, model by model."""
        shards, models = range(self.study.knockout.shards), models or self.study.models
        return [f"{self.folder}/{m}/knockouts/{shard}.parquet" for m in models for shard in shards]

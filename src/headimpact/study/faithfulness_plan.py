"""What jobs are given of the curves of faithfulness of a study: orders of heads, and files."""

from typing import Any

from headimpact import registry
from headimpact.study.score_plan import ScorePlan


class FaithfulnessPlan(ScorePlan):
    """The part of a study's plan that is about curves of faithfulness, see `study.plan`."""

    def head_scores_of(self, model: str) -> list[str]:
        """Every score of heads of a model."""
        return [f"{self.folder}/{model}/scores/{s}.parquet" for s in self.study.head_scores]

    def head_scores_by_model(self) -> list[str]:
        """Every score of heads of every model, model by model."""
        return [path for model in self.study.models for path in self.head_scores_of(model)]

    def order_settings(self) -> dict[str, Any]:
        """Which orders of heads have curves, and how many of their first heads a point has."""
        names = self.study.head_scores
        entries = [registry.SCORES[self.study.scores[name].kind] for name in names]
        return {
            "titles": [self.study.score_title(name) for name in names],
            "higher_is_better": [entry.higher_is_better for entry in entries],
            **self.study.faithfulness.model_dump(include={"head_counts", "random_orders", "seed"}),
        }

    def curve_settings(self) -> dict[str, Any]:
        """How many items there are, how reads are taken away, and what the model is asked."""
        return self.study.faithfulness.model_dump(include={"items", "variants", "outcomes"})

    def curves_of_models(self) -> list[str]:
        """Every shard of the interventions for the curves of every model, model by model."""
        shards = range(self.study.faithfulness.shards)
        models = self.study.models
        return [f"{self.folder}/{m}/curves/{shard}.parquet" for m in models for shard in shards]

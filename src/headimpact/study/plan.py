"""What the jobs of a study wait for and are given: paths, and plain data for their params.

A rule asks a Plan by the name of a method (`ask` in workflow/common/studies.smk); a method's
parameters are wildcards of the rule. All raise UserError for a name that config.yaml lacks.
"""

from typing import Any

from headimpact import registry
from headimpact.guards import UserError
from headimpact.study.faithfulness_plan import FaithfulnessPlan
from headimpact.study.image_plan import Files
from headimpact.study.keys import Setup
from headimpact.study.study import PUBLISHED_COUNT


class Plan(FaithfulnessPlan):
    """The whole plan of a study: its images, models and scores, and here its setups and runs."""

    def setup(self, setup: str) -> Setup:
        """An entry of `setups`."""
        return self._entry("setups", self.study.setups, setup)

    def layer_scores(self, model: str, setup: str) -> str | list:
        """The score that ranks the layers of a setup; nothing for a setup that needs none."""
        self.setup(setup)
        score = self.study.score_of(setup)
        return [] if score is None else f"{self.folder}/{model}/scores/{score}.parquet"

    def target_layers(self, model: str, setup: str) -> str | list:
        """layers.json of the setup that a matched setup imitates; nothing for any other setup."""
        if "layers" not in self.setup(setup).entry.needs:
            return []
        return f"{self.folder}/{model}/{self.setup(setup).options['to']}/0/layers.json"

    def layer_choice(self, model: str, setup: str) -> dict[str, Any]:
        """All that decides the layers of a setup beside their scores, and its target's layers."""
        entry, score = self.setup(setup).entry, self.study.score_of(setup)
        choice = {"choice": self.setup(setup).choice, "options": self.setup(setup).options}
        if score is not None:
            higher = registry.SCORES[self.study.scores[score].kind].higher_is_better
            choice |= {"by": score, "higher_is_better": higher}
        if "seed" in entry.needs:
            choice["seed"] = self.study.layer_seed
        if "published" in entry.needs:
            choice["published"] = self.model(model).published
        return choice

    def draws(self) -> list[tuple[str, int]]:
        """(setup, draw) of each layers.json of a model."""
        return [(name, n) for name, setup in self.study.setups.items() for n in range(setup.draws)]

    def layers_of_draws(self) -> list[str]:
        """layers.json of every model, setup and draw."""
        return [
            f"{self.folder}/{model}/{setup}/{draw}/layers.json"
            for model in self.study.models
            for setup, draw in self.draws()
        ]

    def layers_of_top_setups(self) -> list[str]:
        """layers.json of every model and setup that takes top layers."""
        return [
            f"{self.folder}/{model}/{setup}/0/layers.json"
            for model in self.study.models
            for setup in self.study.top_setups
        ]

    def ranked_setups(self) -> list[tuple[str, str, bool]]:
        """(top, drawn, is_null) of each setup of top layers and each of layers drawn at random.

        is_null: whether the draws would be as good as the top's layers if scores meant nothing, so
        that a rank among them is a p-value: as many layers, drawn from all of them or to match
        these, and trained in the same way.
        """
        study = self.study
        return [
            (top, name, self._is_null(study.setups[top], setup, top))
            for top in study.compared_setups
            for name, setup in study.setups.items()
            if name != top and "seed" in setup.entry.needs
        ]

    @staticmethod
    def _is_null(top: Setup, drawn: Setup, name: str) -> bool:
        """See `ranked_setups`; name: of the setup `top`."""
        count = top.options.get("count")
        return (
            # the paper's rule leaves out the top's layers, so that no draw can have them
            drawn.options.get("rule") != "paper"
            and drawn.options.get("to", name) == name
            and drawn.options.get("count", count) == count
            and (drawn.method, drawn.training) == (top.method, top.training)
        )

    def runs(self) -> list[tuple[str, str, int]]:
        """(setup, variant, draw) of each run of a model."""
        return [(run.setup, run.variant, run.draw) for run in self.study.runs()]

    def answers_of_runs(self) -> list[str]:
        """What the model of each run said, model by model."""
        return [
            f"{self.folder}/{model}/{run.path}/answers.parquet"
            for model in self.study.models
            for run in self.study.runs()
        ]

    def adapter_files(self, model: str, setup: str, variant: str, draw: str) -> Files:
        """The adapter that an evaluation loads; nothing for the model as it is."""
        folder = f"{self.folder}/{model}/{setup}/{variant}/{draw}"
        if self.setup(setup).layers == "none":
            return {}
        return {"adapter": f"{folder}/adapter", "history": f"{folder}/history.json"}

    def training(self, setup: str, variant: str, draw: str) -> dict[str, Any]:
        """How a run is trained; draw n has the seed + n."""
        self.setup(setup)
        self._entry("variants", dict.fromkeys(self.study.variant_names), variant)
        values = self.study.training_of(setup, variant)
        return values | {"seed": values["seed"] + int(draw)}

    def trainings(self) -> list[dict[str, Any]]:
        """Learning rate and seed of each run, in the order of `runs`."""
        trainings = [self.training(*run) for run in self.runs()]
        return [{key: values[key] for key in ("learning_rate", "seed")} for values in trainings]

    def learned_metric(self) -> str:
        """The metric of what training trains, perplexity; UserError if there is no Figure 6."""
        if 6 not in self.study.figures:
            raise UserError(
                f"config.yaml: studies.{self.name}: has no figure 6, which shows how far setups "
                f"move perplexity and another metric from original; name these under metrics and "
                f"setups"
            )
        return next(n for n, metric in self.study.metrics.items() if metric.kind == "perplexity")

    def table6_files(self) -> Files:
        """All scores, and what else the study measures of them.

        Areas of faithfulness cost more than all scores: a study has them only if it asks for them.
        """
        files = {"scores": self.all_scores()}
        if self.trained_setups() is not None:
            files["shifts"] = f"{self.folder}/table4_shifts.csv"
            files["ranks"] = f"{self.folder}/table4_ranks.csv"
        if self.study.faithfulness.in_table6:
            files["areas"] = f"{self.folder}/faithfulness_areas.csv"
        if any(model.known_answer for model in self.study.models.values()):
            files["known"] = f"{self.folder}/known_answer.csv"
        return files

    def trained_setups(self) -> dict[str, Any] | None:
        """How Table 6 names the trained setups; None if the study compares none with `original`.

        setup_of: {title of a score: the first setup of its top layers}. controls: the setups
        whose layers no score ranks. drawn: {setup of random draws: the setup that they match in
        depth, or None}. ranked: the metric whose ranks are shown, perplexity if there is one.
        """
        setups = self.study.setups
        if "original" not in setups or len(setups) == 1:
            return None
        setup_of = {}
        for name, score in self.top_setups().items():
            setup_of.setdefault(score, name)
        kinds = {metric.kind: name for name, metric in self.study.metrics.items()}
        return {
            "setup_of": setup_of,
            "controls": [n for n in setups if n != "original" and not self.study.score_of(n)],
            "drawn": {n: s.options.get("to") for n, s in setups.items() if "seed" in s.entry.needs},
            "ranked": kinds.get("perplexity", next(iter(self.study.metrics))),
        }

    def top_count(self) -> int:
        """How many layers the first setup of top layers trains; the paper's four if there is none.

        Table 6 compares as many top layers of all scores.
        """
        counts = [self.study.setups[name].options["count"] for name in self.study.top_setups]
        return next(iter(counts), PUBLISHED_COUNT)

    def attribution_title(self) -> str | None:
        """The title of the first score that is head attribution."""
        names = (name for name, score in self.study.scores.items() if score.kind == "attribution")
        return next(map(self.study.score_title, names), None)

    def method(self, setup: str) -> dict[str, Any]:
        """Kind and options of a setup's tuning method."""
        self.setup(setup)
        return self.study.method_of(setup).as_data()

    def counted_method(self) -> dict[str, Any]:
        """Kind and options of the method whose parameters Table 5 counts."""
        return self.method(self.study.counted_setup)

    def metrics(self) -> dict[str, dict]:
        """Kind and options of each metric."""
        return {name: metric.as_data() for name, metric in self.study.metrics.items()}

"""What the jobs of a study wait for and are given: paths, and plain data for their params.

A rule asks a Plan by the name of a method (`ask` in workflow/common/studies.smk); a method's
parameters are wildcards of the rule. All raise UserError for a name that config.yaml lacks.
"""

from collections.abc import Iterable
from typing import Any

from headimpact import registry
from headimpact.guards import UserError
from headimpact.study.base import Component
from headimpact.study.image_plan import Files, ImagePlan
from headimpact.study.keys import Model, Setup


class Plan(ImagePlan):
    """The whole plan of a study: its images, models, scores, layers and runs."""

    def model(self, model: str) -> Model:
        """An entry of `models`."""
        return self._entry("models", self.study.models, model)

    def setup(self, setup: str) -> Setup:
        """An entry of `setups`."""
        return self._entry("setups", self.study.setups, setup)

    def score(self, score: str) -> Component:
        """An entry of `scores`."""
        return self._entry("scores", self.study.scores, score)

    def fetched_model(self, model: str) -> str | list:
        """The record of a model's checkpoint."""
        return self._record(self.model(model).checkpoint, self.model(model).revision)

    def checkpoint_files(self, model: str) -> dict[str, Any]:
        """A model's checkpoint, for a job that reads its configuration and processors alone."""
        return self._identity(self.model(model).checkpoint, self.model(model).revision)

    def checkpoint_to_run(self, model: str) -> dict[str, Any]:
        """A model's checkpoint, for a job that runs it."""
        where = {"device": self.study.device, "dtype": self.model(model).dtype}
        return self.checkpoint_files(model) | where

    def counted_models(self) -> list[dict[str, Any]]:
        """What tables 1 and 5 are counted from, a model each."""
        return [
            {
                "title": model.title,
                "configuration": model.configuration,
                **self._identity(model.checkpoint, model.revision),
            }
            for model in self.study.models.values()
        ]

    def fetched_to_count(self) -> list[str]:
        """The records of the hub's models without a configuration to count."""
        models = [name for name, model in self.study.models.items() if not model.configuration]
        return [record for record in map(self.fetched_model, models) if record]

    def first_checkpoint(self) -> dict[str, Any]:
        """The checkpoint of the model of Figure 2."""
        return self.checkpoint_files(next(iter(self.study.models)))

    def fetched_first_model(self) -> str | list:
        """The record of the model of Figure 2."""
        return self.fetched_model(next(iter(self.study.models)))

    def download_files(self) -> list[str]:
        """All that is fetched before the study can run where there is no network."""
        files = [f"{self.coco}/val2017"] if self.study.downloads_coco else []
        release, options = self.release_folder(), self.study.annotator.options
        files += [release] if release == self.release else []
        files += [self.fetched_model(model) for model in self.study.models]
        files += [self._record(**options[name]) for name in self.study.annotator.checkpoints]
        return [file for file in files if file]

    def of_models(self, file: str) -> list[str]:
        """A file of every model, in their order."""
        return [f"{self.folder}/{model}/{file}" for model in self.study.models]

    def first_tokens(self) -> str:
        """The token coverage of the model of Figure 2."""
        return self.of_models("tokens.parquet")[0]

    def first_scores(self) -> list[str]:
        """The score of Table 2 and of figures 4 and 5, of every model."""
        return self.of_models(f"scores/{self.study.first_score}.parquet")

    def attention_of(self, models: Iterable[str] | None = None) -> list[str]:
        """Every shard of the attention of some models, or of all."""
        shards, models = range(self.study.attention.shards), models or self.study.models
        return [f"{self.folder}/{m}/attention/{shard}.parquet" for m in models for shard in shards]

    def score_settings(self, score: str) -> dict[str, Any]:
        """Kind and options of a score."""
        return self.score(score).as_data()

    def score_runs_model(self, score: str) -> bool:
        """Whether a score runs the model, and so wants a GPU."""
        return "model" in registry.SCORES[self.score(score).kind].needs

    def score_checkpoint(self, model: str, score: str) -> dict[str, Any] | None:
        """The checkpoint of a model, for a score that runs it."""
        return self.checkpoint_to_run(model) if self.score_runs_model(score) else None

    def score_inputs(self, model: str, score: str) -> Files:
        """What a score waits for beside samples and objects, by its needs in the registry."""
        needs, files = registry.SCORES[self.score(score).kind].needs, {}
        if "attention" in needs:
            files["tokens"] = f"{self.folder}/{model}/tokens.parquet"
            files["attention"] = self.attention_of([model])
        if "model" in needs:
            files |= {**self.image_files(), "checkpoint": self.fetched_model(model)}
        return files

    def layer_scores(self, model: str, setup: str) -> str | list:
        """The score that ranks the layers of a setup; nothing for a setup that needs none."""
        self.setup(setup)
        score = self.study.score_of(setup)
        return [] if score is None else f"{self.folder}/{model}/scores/{score}.parquet"

    def layer_choice(self, model: str, setup: str) -> dict[str, Any]:
        """All that decides the layers of a setup beside their scores."""
        entry, score = registry.LAYER_CHOICES[self.setup(setup).choice], self.study.score_of(setup)
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

    def ranked_setups(self) -> list[tuple[str, str, bool]]:
        """(top, drawn, is_null) of each setup of top layers and each of layers drawn at random.

        is_null: whether the draws would be as good as the top's layers if scores meant nothing, so
        that a rank among them is a p-value: as many layers, drawn from all of them or to match
        these, and trained in the same way.
        """
        study = self.study
        return [
            (top, name, self._is_null(study.setups[top], setup, top))
            for top in study.top_setups
            for name, setup in study.setups.items()
            if name != top and "seed" in registry.LAYER_CHOICES[setup.choice].needs
        ]

    @staticmethod
    def _is_null(top: Setup, drawn: Setup, name: str) -> bool:
        """See `ranked_setups`; name: of the setup `top`."""
        # Layers drawn by the paper's rule leave out the top's, so that none can be the top's.
        rule = drawn.options.get("rule", "paper" if drawn.choice == "random" else None)
        count = top.options.get("count")
        return (
            rule != "paper"
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

    def features_record(self, model: str) -> str | list:
        """The record of a model's stored image features, if they are to be stored."""
        stored = self.study.shortcuts.kept_features
        return f"{self.folder}/{model}/features.json" if stored else []

    def published_names(self) -> dict[str, str]:
        """The paper's name of each model that has one, {title: name}; UserError if none has."""
        names = {m.title: m.published for m in self.study.models.values() if m.published}
        if not names:
            raise UserError(
                f"config.yaml: studies.{self.name}.models: no model says which of the paper's it "
                f"is; add published: to one"
            )
        return names

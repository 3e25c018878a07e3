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

    def untrained_checkpoint(self, model: str) -> dict[str, Any]:
        """A model with random weights, drawn from a seed, in place of its checkpoint's."""
        return self.checkpoint_to_run(model) | {"untrained": self.study.nulls.seed}

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

    def scores_of_models(self, score: str | None = None) -> list[str]:
        """A score of every model; None for the one of figures 4 and 5."""
        return self.of_models(f"scores/{score or self.study.first_score}.parquet")

    def head_scores(self) -> list[str]:
        """Every score of heads of every model, score by score."""
        return [path for score in self.study.head_scores for path in self.scores_of_models(score)]

    def score_titles(self, per: str | None = None) -> list[str]:
        """The titles of all scores, or of those that have a number a "head"."""
        names = self.study.head_scores if per == "head" else self.study.scores
        return [self.study.score_title(name) for name in names]

    def top_setups(self) -> dict[str, str]:
        """{setup: the title of the score that ranks its layers} of the setups of top layers."""
        return {n: self.study.score_title(s) for n, s in self.study.top_setups.items()}

    def top_score_title(self) -> str | None:
        """The title of the score that ranks the layers of the first top setup, if one does."""
        score = self.study.top_score
        return None if score is None else self.study.score_title(score)

    def score_title(self, score: str | None = None) -> str:
        """The title of a score; None for the one of figures 4 and 5."""
        return self.study.score_title(score or self.study.first_score)

    def nulls_of_models(self, kind: str) -> list[str]:
        """The nulls of the first score, of every model; nothing for a score without nulls.

        kind: "parquet" for the heads', "csv" for their means.
        """
        score = self.study.first_score
        has_nulls = registry.SCORES[self.study.scores[score].kind].nulls is not None
        return self.of_models(f"nulls/{score}.{kind}") if has_nulls else []

    def tables_of_nulls(self) -> list[str]:
        """The means of the nulls of every model; UserError if the first score has none."""
        files = self.nulls_of_models("csv")
        if not files:
            known = ", ".join(name for name, entry in registry.SCORES.items() if entry.nulls)
            raise UserError(
                f"config.yaml: studies.{self.name}.scores.{self.study.first_score}: has no nulls; "
                f"list one of these kinds first: {known}"
            )
        return files

    def resampled_score(self) -> dict[str, Any]:
        """Kind and options of the first score; UserError unless it comes from attention."""
        name = self.study.first_score
        if self._needs(name) != ("attention",):
            raise UserError(
                f"config.yaml: studies.{self.name}.scores.{name}: its images cannot be resampled "
                f"without running a model; list a score first that comes from attention alone"
            )
        return self.score_settings(name)

    def scores_of_top_setups(self) -> dict[str, dict]:
        """Kind, options, title and sizes of the top of each score that ranks layers for a top.

        Scores that do not come from attention alone are left out; UserError if none is left.
        """
        scores = {}
        for name, setup in self.study.setups.items():
            score = self.study.score_of(name)
            if setup.layers == "top" and self._needs(score) == ("attention",):
                title = self.study.score_title(score)
                settings = self.score_settings(score) | {"title": title, "counts": []}
                counts = scores.setdefault(score, settings)["counts"]
                counts += [setup.options["count"]] * (setup.options["count"] not in counts)
        if not scores:
            raise UserError(
                f"config.yaml: studies.{self.name}.setups: none takes the top layers of a score "
                f"that comes from attention; add one with layers: top"
            )
        return scores

    def _needs(self, score: str) -> tuple[str, ...]:
        return registry.SCORES[self.score(score).kind].needs

    def null_inputs(self, model: str) -> Files:
        """The attention that nulls come from beside that of the score itself."""
        files = {"shifted": f"{self.folder}/{model}/shifted_tokens.parquet"}
        if self.study.nulls.untrained:
            files["untrained"] = self.attention_of([model], "untrained")
        return files

    def attention_of(
        self, models: Iterable[str] | None = None, folder: str = "attention"
    ) -> list[str]:
        """Every shard of the attention of some models, or of all.

        folder: "attention", or "untrained" for that of models with random weights.
        """
        shards, models = range(self.study.attention.shards), models or self.study.models
        return [f"{self.folder}/{m}/{folder}/{shard}.parquet" for m in models for shard in shards]

    def score_settings(self, score: str) -> dict[str, Any]:
        """Kind and options of a score."""
        return self.score(score).as_data()

    def score_runs_model(self, score: str) -> bool:
        """Whether a score runs the model, and so wants a GPU."""
        return "model" in self._needs(score)

    def score_checkpoint(self, model: str, score: str) -> dict[str, Any] | None:
        """The checkpoint of a model, for a score that runs it."""
        return self.checkpoint_to_run(model) if self.score_runs_model(score) else None

    def score_inputs(self, model: str, score: str) -> Files:
        """What a score waits for beside samples and objects, by its needs in the registry."""
        needs, files = self._needs(score), {}
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

    def all_scores(self) -> list[str]:
        """Every score of every model."""
        return [
            f"{self.folder}/{model}/scores/{score}.parquet"
            for model in self.study.models
            for score in self.study.scores
        ]

    def top_scores(self) -> list[str]:
        """Of every model, the score of the first top setup; nothing if none is ranked by one."""
        score = self.study.top_score
        return [] if score is None else self.of_models(f"scores/{score}.parquet")

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

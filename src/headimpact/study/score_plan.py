"""What jobs are given of the scores of a study: attention, scores of heads, and their nulls."""

from collections.abc import Iterable
from pathlib import PurePath
from typing import Any

from headimpact import registry, score_registry
from headimpact.guards import UserError
from headimpact.study.base import Component
from headimpact.study.image_plan import Files
from headimpact.study.knockout_plan import KnockoutPlan


class ScorePlan(KnockoutPlan):
    """The part of a study's plan that is about its scores, see `study.plan`."""

    def score(self, score: str) -> Component:
        """An entry of `scores`."""
        return self._entry("scores", self.study.scores, score)

    def score_settings(self, score: str) -> dict[str, Any]:
        """Kind and options of a score."""
        return self.score(score).as_data()

    def score_runs_model(self, score: str) -> bool:
        """Whether a score runs the model, and so wants a GPU."""
        return "model" in self._needs(score)

    def score_checkpoint(self, model: str, score: str) -> dict[str, Any] | None:
        """The checkpoint of a model, for a score that runs it or is computed from its weights."""
        if self.score_runs_model(score):
            return self.checkpoint_to_run(model)
        if "weights" in self._needs(score):
            return self.checkpoint_to_run(model) | {"device": "cpu"}
        return None

    def score_inputs(self, model: str, score: str) -> Files:
        """What a score waits for beside samples and objects, by its needs in the registry."""
        needs, files = self._needs(score), {}
        if "attention" in needs:
            files["tokens"] = f"{self.folder}/{model}/tokens.parquet"
            files["attention"] = self.attention_of([model])
        if "model" in needs:
            files |= self.image_files()
        if "model" in needs or "weights" in needs:
            files["checkpoint"] = self.fetched_model(model)
        designs = [name for name in score_registry.DESIGNS if f"{name}_interventions" in needs]
        if designs:
            files["interventions"] = self.interventions_of([model], designs)
        if "knockouts" in needs:
            files["knockouts"] = self.knockouts_of([model])
        return files

    def attention_of(
        self, models: Iterable[str] | None = None, folder: str = "attention"
    ) -> list[str]:
        """Every shard of the attention of some models, or of all.

        folder: "attention", or "untrained" for that of models with random weights.
        """
        shards, models = range(self.study.attention.shards), models or self.study.models
        return [f"{self.folder}/{m}/{folder}/{shard}.parquet" for m in models for shard in shards]

    def scores_of_models(self, score: str | None = None) -> list[str]:
        """A score of every model; None for the one of figures 4 and 5."""
        return self.of_models(f"scores/{score or self.study.first_score}.parquet")

    def all_scores(self, models: Iterable[str] | None = None) -> list[str]:
        """Every score of some models, or of all, model by model."""
        return [
            f"{self.folder}/{model}/scores/{score}.parquet"
            for model in models or self.study.models
            for score in self.study.scores
        ]

    def head_scores(self) -> list[str]:
        """Every score of heads of every model, score by score."""
        return [path for score in self.study.head_scores for path in self.scores_of_models(score)]

    def score_title(self, score: str | None = None) -> str:
        """The title of a score; None for the one of figures 4 and 5."""
        return self.study.score_title(score or self.study.first_score)

    def score_titles(self, per: str | None = None) -> list[str]:
        """The titles of all scores, or of those that have a number a "head"."""
        names = self.study.head_scores if per == "head" else self.study.scores
        return [self.study.score_title(name) for name in names]

    def first_tokens(self) -> str:
        """The token coverage of the model of Figure 2."""
        return self.of_models("tokens.parquet")[0]

    def untrained_checkpoint(self, model: str) -> dict[str, Any]:
        """A model with random weights, drawn from a seed, in place of its checkpoint's."""
        return self.checkpoint_to_run(model) | {"untrained": self.study.nulls.seed}

    def null_inputs(self, model: str) -> Files:
        """The attention that nulls come from beside that of the score itself."""
        files = {"shifted": f"{self.folder}/{model}/shifted_tokens.parquet"}
        if self.study.nulls.untrained:
            files["untrained"] = self.attention_of([model], "untrained")
        return files

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

    def known_answers(self) -> list[str]:
        """Titles of the models whose reading heads are known; UserError if there is none."""
        titles = [model.title for model in self.study.models.values() if model.known_answer]
        if not titles:
            raise UserError(
                f"config.yaml: studies.{self.name}.models: none has a known_answer; name a JSON "
                f"file with reading_heads, as of resources/miniature/qwen2_vl_spread"
            )
        return titles

    def known_answer_inputs(self) -> Files:
        """Of those models the reading heads and every score."""
        known = {name: model for name, model in self.study.models.items() if model.known_answer}
        return {
            "reading_heads": [model.known_answer for model in known.values()],
            "scores": self.all_scores(known),
        }

    def settings_of_scores(self) -> list[dict]:
        """Title, kind and options of every score."""
        return [
            self.score_settings(name) | {"title": self.study.score_title(name)}
            for name in self.study.scores
        ]

    def jobs_of_scores(self) -> dict[str, dict[str, list[str]]]:
        """{title of a model: {title of a score: its job, and those of its model's inputs}}."""
        return {
            model.title: {
                self.study.score_title(score): self._jobs_of_score(name, score)
                for score in self.study.scores
            }
            for name, model in self.study.models.items()
        }

    def attention_jobs(self) -> dict[str, list[str]]:
        """{title of a model: the jobs that run it once on each image of the split impact}."""
        return {
            model.title: [self._job_of(path) for path in self.attention_of([name])]
            for name, model in self.study.models.items()
        }

    def _jobs_of_score(self, model: str, score: str) -> list[str]:
        files = []
        for value in self.score_inputs(model, score).values():
            files += [value] if isinstance(value, str) else value
        own = [path for path in files if path.startswith(f"{self.folder}/{model}/")]
        return [*(self._job_of(path) for path in own), f"{model}.score.{score}"]

    def _job_of(self, path: str) -> str:
        """The name, as of its log and benchmark, of the job that writes a file of the study."""
        return ".".join(PurePath(path).relative_to(self.folder).with_suffix("").parts)

    def top_scores(self) -> list[str]:
        """Of every model, the score of the first top setup; nothing if none is ranked by one."""
        score = self.study.top_score
        return [] if score is None else self.scores_of_models(score)

    def top_score_title(self) -> str | None:
        """The title of the score that ranks the layers of the first top setup, if one does."""
        score = self.study.top_score
        return None if score is None else self.study.score_title(score)

    def top_setups(self) -> dict[str, str]:
        """{setup: the title of the score that ranks its layers} of the setups of top layers."""
        return {n: self.study.score_title(s) for n, s in self.study.top_setups.items()}

    def _needs(self, score: str) -> tuple[str, ...]:
        return registry.SCORES[self.score(score).kind].needs

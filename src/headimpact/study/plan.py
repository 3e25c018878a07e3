"""What the jobs of a study wait for and are given: paths, and plain data for their params.

A rule asks a Plan by the name of a method (`ask` in workflow/common/studies.smk); a method's
parameters are wildcards of the rule. All raise UserError for a name that config.yaml lacks.
"""

from collections.abc import Iterable, Mapping
from typing import Any

from headimpact import checkpoints, registry
from headimpact.guards import UserError
from headimpact.study.base import Component
from headimpact.study.config import Config
from headimpact.study.keys import Model, Setup

Files = dict[str, str | list[str]]


class Plan:
    """The plan of the study `name`; raises UserError if its folders cannot be used."""

    def __init__(self, config: Config, name: str):
        self.name, self.study, self.downloads = name, config.study(name), config.downloads
        self.folder = f"results/{name}"
        self.awaited = {}  # record of a hub checkpoint that was asked for: its id and revision
        self.coco = f"{self.downloads.folder}/coco"
        self.release = f"{self.downloads.folder}/release/{self.downloads.release_commit}"

    def _entry(self, kind: str, entries: Mapping[str, Any], name: str) -> Any:
        if name not in entries:
            where = f"config.yaml: studies.{self.name}.{kind}.{name}"
            raise UserError(f"{where}: missing; add it, or ask for {', '.join(entries)}")
        return entries[name]

    def model(self, model: str) -> Model:
        """An entry of `models`."""
        return self._entry("models", self.study.models, model)

    def setup(self, setup: str) -> Setup:
        """An entry of `setups`."""
        return self._entry("setups", self.study.setups, setup)

    def annotator(self, annotator: str) -> registry.AnnotatorEntry:
        """The registry's entry of one of the study's annotators."""
        used = {name: registry.ANNOTATORS[name] for name in self.study.annotator.used}
        return self._entry("annotator", used, annotator)

    def score(self, score: str) -> Component:
        """An entry of `scores`."""
        return self._entry("scores", self.study.scores, score)

    def images_folder(self) -> dict[str, Any]:
        """How a job opens the study's images: the arguments of a CocoFolder."""
        dataset, own = self.study.dataset, f"{self.folder}/dataset"
        if dataset.kind == "scenes":
            return {"root": own, "subset": "scenes"}
        if dataset.kind == "captions":
            return {"root": own, "subset": "images", "images": dataset.root, "upright": True}
        return {"root": dataset.root or self.coco, "subset": dataset.subset}

    def image_files(self) -> Files:
        """What a rule that opens images waits for; nothing for a folder of the user's."""
        if self.study.dataset.kind == "scenes":
            return {"dataset": f"{self.folder}/dataset"}
        return {"photographs": f"{self.coco}/val2017"} if self.study.downloads_coco else {}

    def annotation_files(self, kind: str) -> Files:
        """What a rule that reads the annotation file of a kind waits for."""
        folder = self.images_folder()
        files = {kind: f"{folder['root']}/annotations/{kind}_{folder['subset']}.json"}
        return self.image_files() | ({} if self.study.dataset.kind == "scenes" else files)

    def release_folder(self) -> str | list:
        """The authors' release, if the study uses it: the user's folder or the one to download."""
        if not self.study.annotators_that_need("release"):
            return []
        return self.study.annotator.options["release"] or self.release

    def image_url(self) -> str:
        """What the authors' layout writes before an image's name."""
        dataset = self.study.dataset
        known = dataset.kind == "coco" and dataset.subset.endswith("2017")
        return f"http://images.cocodataset.org/{dataset.subset}" if known else "images"

    def annotated(self, suffix: str) -> list[str]:
        """The shards of all annotators, with this suffix."""
        return [
            f"{self.folder}/annotations/{annotator}.{shard}{suffix}"
            for annotator in self.study.annotator.used
            for shard in range(self.study.annotator.shards)
        ]

    def annotator_inputs(self, annotator: str) -> Files:
        """What an annotator waits for beside the images: the release, its checkpoints."""
        entry, options = self.annotator(annotator), self.study.annotator.options
        files = {name: self._record(**options[name]) for name in entry.checkpoints}
        given = {"instances": f"{self.folder}/instances.parquet", "release": self.release_folder()}
        return files | {need: file for need, file in given.items() if need in entry.needs}

    def annotator_options(self, annotator: str) -> dict[str, Any]:
        """The options of an annotator; one that names a checkpoint with what identifies that."""
        entry, options = self.annotator(annotator), self.study.annotator.options
        values = {name: options[name] for name in entry.options}
        values |= {name: self._identity(**options[name]) for name in entry.checkpoints}
        if "model" in entry.needs:
            values["device"] = self.study.device
        if "release" in entry.needs:
            values["release"] = values["release"] or self.downloads.release_commit
        return values

    def annotator_runs_model(self, annotator: str) -> bool:
        """Whether an annotator runs a model, and so wants a GPU."""
        return "model" in self.annotator(annotator).needs

    def annotator_group(self, annotator: str) -> str | None:
        """The group of jobs on a cluster: without a model they go in one with the samples."""
        return None if self.annotator_runs_model(annotator) else "samples"

    def _record(self, checkpoint: str, revision: str | None = None) -> str | list:
        """The record of what was fetched of a hub checkpoint; nothing for a folder."""
        if checkpoints.is_local(checkpoint):
            return []
        path = f"{self.downloads.folder}/checkpoints/{checkpoint}@{revision or 'main'}.json"
        self.awaited[path] = checkpoint, revision
        return path

    def _identity(self, checkpoint: str, revision: str | None = None) -> dict[str, Any]:
        local = checkpoints.is_local(checkpoint)
        identity = checkpoints.folder_identity(checkpoint) if local else None
        return {"checkpoint": checkpoint, "revision": revision, "identity": identity}

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

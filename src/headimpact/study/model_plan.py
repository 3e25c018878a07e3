"""What jobs are given of the models of a study: checkpoints, and files of each model."""

from typing import Any

from headimpact.guards import UserError
from headimpact.study.image_plan import ImagePlan
from headimpact.study.keys import Model


class ModelPlan(ImagePlan):
    """The part of a study's plan that is about its models, see `study.plan`."""

    def model(self, model: str) -> Model:
        """An entry of `models`."""
        return self._entry("models", self.study.models, model)

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

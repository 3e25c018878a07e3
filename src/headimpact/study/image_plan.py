"""What the jobs of a study that find its key objects wait for and are given; see `plan`."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from headimpact import checkpoints, registry
from headimpact.guards import UserError
from headimpact.study.config import Config

Files = dict[str, str | list[str]]


class ImagePlan:
    """The images, annotation files and annotators of the study `name`.

    Raises UserError if the study's folders cannot be used.
    """

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

    def annotator(self, annotator: str) -> registry.AnnotatorEntry:
        """The registry's entry of one of the study's annotators."""
        used = {name: registry.ANNOTATORS[name] for name in self.study.annotator.used}
        return self._entry("annotator", used, annotator)

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

    def caption_files(self) -> Files:
        """What the draw of images waits for: captions, or instances where these are enough."""
        folder, kind = self.images_folder(), "captions"
        path = Path(folder["root"], "annotations", f"captions_{folder['subset']}.json")
        if "captions" not in self.study.annotation_kinds and self.study.dataset.kind == "coco":
            own = self.study.dataset.root is not None
            kind = "instances" if own and not path.is_file() else "captions"
        return self.annotation_files(kind)

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

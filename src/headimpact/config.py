"""What a study of config.yaml asks for, beyond what its schema can say."""

import re
from pathlib import Path

PUBLISHED_SETUPS = ("top-4", "bottom-4", "random-4")  # of the paper's Table 3


def setup_runs(study):
    """All (setup, draw) of a study, in the order of config.yaml; original counts as one."""
    return [
        (name, draw) for name, setup in study["setups"].items() for draw in range(setup["draws"])
    ]


def training_of(study, setup):
    """How `setup` is trained: the study's training, with what the setup says otherwise."""
    return {**study["training"], **study["setups"][setup]["training"]}


def annotators(study):
    """Who finds the key objects of each split (dict split: annotator)."""
    told = study["annotator"]
    first = told["impact"] or told["name"]
    splits = study["sampling"]["proportions"]
    return {split: first if split == "impact" else told["name"] for split in splits}


def is_local(checkpoint):
    """Whether a checkpoint is a folder, not a hub id."""
    return Path(checkpoint).is_dir()


def check_study(name, study):
    """Raise ValueError, with one line that names the key and the mend, if the study cannot run.

    Checked here is what the schema cannot know: folders that must be there, and keys that
    depend on each other.
    """
    where = f"config.yaml: studies.{name}"
    _check_dataset(where, study)
    for model, entry in study["models"].items():
        _check_checkpoint(f"{where}.models.{model}", entry["checkpoint"])
        told = entry["configuration"]
        if told and not Path(told, "config.json").is_file():
            raise ValueError(
                f"{where}.models.{model}.configuration: no config.json in {told}; "
                f"correct the path or leave the key out"
            )
    if "florence2_sam2" in annotators(study).values():
        for part in ("grounder", "segmenter"):
            _check_checkpoint(f"{where}.annotator.{part}", study["annotator"][part]["checkpoint"])
    _check_setups(where, study)


def _check_dataset(where, study):
    dataset, used = study["dataset"], set(annotators(study).values())
    if dataset["kind"] == "scenes":
        if "images" not in dataset:
            raise ValueError(f"{where}.dataset.images: missing; say how many scenes to draw")
        wanted = study["sampling"]["images"]
        if wanted > dataset["images"]:
            raise ValueError(
                f"{where}.sampling.images: asks for {wanted} of {dataset['images']} "
                f"scenes; lower it or raise dataset.images"
            )
    elif dataset["kind"] == "coco":
        if dataset["root"] is None and dataset["subset"] != "val2017":
            raise ValueError(
                f"{where}.dataset.root: missing; only val2017 is downloaded, name the folder "
                f"that holds {dataset['subset']}"
            )
    else:
        for key, there in (("root", Path.is_dir), ("captions", Path.is_file)):
            if not dataset.get(key) or not there(Path(dataset[key])):
                what = "the images' folder" if key == "root" else "a CSV of file and caption"
                raise ValueError(
                    f"{where}.dataset.{key}: no {dataset.get(key) or key}; name {what}"
                )
        if "instances" in used:
            raise ValueError(
                f"{where}.annotator.name: instances needs COCO's own masks, which a CSV of "
                f"captions has not; choose florence2_sam2"
            )


def _check_checkpoint(where, checkpoint):
    if checkpoint.startswith((".", "/", "resources/")) and not is_local(checkpoint):
        raise ValueError(
            f"{where}.checkpoint: no folder {checkpoint}; correct the path or give a hub id"
        )
    if not is_local(checkpoint) and not re.fullmatch(r"[\w.-]+/[\w.-]+", checkpoint, re.ASCII):
        raise ValueError(
            f"{where}.checkpoint: {checkpoint} is neither a folder nor a hub id such as "
            f"Qwen/Qwen2-VL-2B-Instruct; correct it"
        )


def _check_setups(where, study):
    published = study["layer_choice"] == "published"
    for setup, entry in study["setups"].items():
        chosen = entry["layers"] in ("top", "bottom", "random")
        if published and chosen and setup not in PUBLISHED_SETUPS:
            raise ValueError(
                f"{where}.setups.{setup}: the paper has no layers for it; rename it to one of "
                f"{', '.join(PUBLISHED_SETUPS)} or set layer_choice: computed"
            )
        if chosen and "count" not in entry:
            raise ValueError(f"{where}.setups.{setup}.count: missing; say how many layers")
        if entry["layers"] == "none" and setup != "original":
            raise ValueError(f"{where}.setups.{setup}: trains no layer; name it original")
    for model, entry in study["models"].items():
        if published and entry["published"] is None:
            raise ValueError(
                f"{where}.models.{model}.published: missing; say which model of the paper's "
                f"Table 3 it is, or set layer_choice: computed"
            )


def one_line(error):
    """A jsonschema ValidationError as one line that names the key and the mend."""
    where = ".".join(str(part) for part in error.absolute_path)
    if error.validator == "additionalProperties":
        known = ", ".join(error.schema.get("properties", {}))
        extra = sorted(set(error.instance) - set(error.schema.get("properties", {})))
        path = ".".join(filter(None, [where, extra[0]]))
        return f"config.yaml: {path}: unknown key; known here: {known}"
    if error.validator == "required":
        return f"config.yaml: {where}: {error.message}; add it"
    if error.validator == "enum":
        known = ", ".join(map(str, error.validator_value))
        return f"config.yaml: {where}: {error.instance!r} is none of {known}"
    mend = error.schema.get("description", "see workflow/schemas/config.schema.yaml")
    return f"config.yaml: {where}: {error.message}; {mend}"

"""What a study of config.yaml asks for, beyond what its schema can say."""

from pathlib import Path


def setup_runs(study):
    """All (setup, draw) of a study, in the order of config.yaml; original counts as one."""
    return [
        (name, draw) for name, setup in study["setups"].items() for draw in range(setup["draws"])
    ]


def training_of(study, setup):
    """How `setup` is trained: the study's training, with what the setup says otherwise."""
    return {**study["training"], **study["setups"][setup]["training"]}


def check_study(name, study):
    """Raise ValueError, with one line that names the key and the mend, if the study cannot run.

    Checked here is what the schema cannot know: folders that must be there, and numbers that
    depend on each other.
    """
    where = f"config.yaml: studies.{name}"
    if study["dataset"]["kind"] == "scenes":
        wanted = study["sampling"]["images"]
        if wanted > study["dataset"]["images"]:
            raise ValueError(
                f"{where}.sampling.images: asks for {wanted} of {study['dataset']['images']} "
                f"scenes; lower it or raise dataset.images"
            )
    elif not study["dataset"].get("root"):
        raise ValueError(f"{where}.dataset.root: missing; name the folder that holds COCO")
    for model, entry in study["models"].items():
        checkpoint = entry["checkpoint"]
        if checkpoint.startswith((".", "/", "resources/")) and not Path(checkpoint).is_dir():
            raise ValueError(
                f"{where}.models.{model}.checkpoint: no folder {checkpoint}; "
                f"correct the path or give a hub id"
            )
    for setup, entry in study["setups"].items():
        if entry["layers"] in ("top", "bottom", "random") and "count" not in entry:
            raise ValueError(f"{where}.setups.{setup}.count: missing; say how many layers")
        if entry["layers"] == "none" and setup != "original":
            raise ValueError(f"{where}.setups.{setup}: trains no layer; name it original")


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

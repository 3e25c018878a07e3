"""Checks that the folders which a study names can be used, before any job runs."""

from pathlib import Path

from headimpact import checkpoints, registry
from headimpact.guards import UserError
from headimpact.study.study import Study


def check_files(study: Study, where: str) -> None:
    """Raise UserError, one line that begins with `where`, for folders that cannot be used."""
    try:
        _check_files(study, where)
    except OSError as error:  # a name that is too long, a folder that may not be read
        raise UserError(f"{where}: {error.filename}: {error.strerror}; correct the path") from error


def _check_files(study: Study, where: str) -> None:
    if study.dataset.kind == "captions":
        for key, exists in (("root", Path.is_dir), ("captions", Path.is_file)):
            path = getattr(study.dataset, key)
            if not exists(Path(path)):
                what = "the images' folder" if key == "root" else "a CSV of file and caption"
                raise UserError(f"{where}.dataset.{key}: no {path}; name {what}")
    types = [t for family in registry.FAMILIES.values() for t in family.model_types]
    for name, model in study.models.items():
        at = f"{where}.models.{name}"
        checkpoints.check_name(f"{at}.checkpoint", model.checkpoint)
        if checkpoints.is_local(model.checkpoint):
            family = registry.family_of(checkpoints.model_type(model.checkpoint))
            chat = family is not None and registry.FAMILIES[family].chat
            checkpoints.check_model_folder(f"{at}.checkpoint", model.checkpoint, types, chat)
        if model.configuration and not Path(model.configuration, "config.json").is_file():
            raise UserError(
                f"{at}.configuration: no config.json in {model.configuration}; correct the "
                f"path or leave the key out"
            )
        if model.known_answer and not Path(model.known_answer).is_file():
            raise UserError(
                f"{at}.known_answer: no file {model.known_answer}; correct the path or leave the "
                f"key out"
            )
        _check_depth(study, where, name)
    for option, types in study.annotator.checkpoints.items():
        checkpoint = study.annotator.options[option]["checkpoint"]
        checkpoints.check_name(f"{where}.annotator.{option}.checkpoint", checkpoint)
        if checkpoints.is_local(checkpoint):
            checkpoints.check_weights(f"{where}.annotator.{option}.checkpoint", checkpoint, types)


def _check_depth(study: Study, where: str, model: str) -> None:
    """Raise UserError if a setup wants more layers than the decoder of a model has."""
    entry = study.models[model]
    folder = entry.configuration or entry.checkpoint
    if not checkpoints.is_local(folder):
        return  # known once it is fetched
    depth = checkpoints.decoder_layers(f"{where}.models.{model}.checkpoint", folder)
    for name, setup in study.setups.items():
        count = setup.options.get("count", 0)
        needed = count * setup.entry.layers_per_count
        if setup.choice == "list":
            needed = max(setup.layers, default=-1) + 1
        if depth is not None and needed > depth:
            raise UserError(
                f"{where}.setups.{name}.{'count' if count else 'layers'}: needs a decoder of "
                f"{needed} layers, {model} has {depth}; lower it"
            )

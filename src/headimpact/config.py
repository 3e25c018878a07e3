"""What a study of config.yaml asks for, beyond what its schema can say."""

import json
import math
import re
from pathlib import Path

import yaml

from headimpact.guards import UserError

# as headimpact.models.load and resources/published have them; neither is read for a look
MODEL_TYPES = ("idefics3", "paligemma", "qwen2_vl")
PUBLISHED_MODELS = ("PaliGemma2", "Qwen2-VL", "SmolVLM")
PUBLISHED_SETUPS = ("top-4", "bottom-4", "random-4")  # of the paper's Table 3
MOST_VALUES = 100_000  # of a config.yaml, each counted where an alias repeats it


def check_yaml(content):
    """Raise ValueError, one line with the mend, unless `content` (bytes) is plain YAML.

    To be asked before Snakemake reads it, which makes objects of its tags and, by __use_yte__,
    runs Python that stands in it.
    """
    try:
        told = yaml.safe_load(content.decode("utf-8"))
    except yaml.MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else 1
        raise UserError(
            f"config.yaml: line {line}: {error.problem}; correct it, what holds a sign of YAML's "
            f"goes in quotes"
        ) from error
    except Exception as error:  # of other classes, by which value cannot be what it looks like
        raise UserError(f"config.yaml: not YAML in UTF-8 ({error}); correct it") from error
    if not isinstance(told, dict):
        raise UserError("config.yaml: holds no keys; it wants default_study and studies")
    if "__use_yte__" in told:
        raise UserError("config.yaml: __use_yte__: would run code; write what it makes instead")
    coming, seen = [told], 0
    while coming:
        value = coming.pop()
        seen += 1
        if seen > MOST_VALUES:
            raise UserError(f"config.yaml: more than {MOST_VALUES} values; repeat less by *")
        if isinstance(value, dict):
            coming += value.values()
        elif isinstance(value, list):
            coming += value


def check_tree(tree, where=()):
    """Raise ValueError, one line with the mend, for what a schema of JSON cannot refuse in YAML.

    tree: all of config.yaml. Keys are text and numbers are finite. Whole numbers are made int in
    place, since 2.0 is an integer for the schema.
    """
    for key, value in tree.items() if isinstance(tree, dict) else enumerate(tree):
        path = (*where, str(key))
        if isinstance(tree, dict) and not isinstance(key, str):
            raise UserError(f"config.yaml: {'.'.join(path)}: a key that is no text; quote it")
        if isinstance(value, dict | list):
            check_tree(value, path)
        elif isinstance(value, float) and not math.isfinite(value):
            raise UserError(f"config.yaml: {'.'.join(path)}: {value} is no number; correct it")
        elif isinstance(value, float) and value.is_integer():
            tree[key] = int(value)


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
    try:
        _check(f"config.yaml: studies.{name}", study)
    except OSError as error:  # a name that is too long, a folder that may not be read
        raise UserError(
            f"config.yaml: studies.{name}: {error.filename}: {error.strerror}; correct the path"
        ) from error


def _check(where, study):
    _check_dataset(where, study)
    titles = {}
    for model, entry in study["models"].items():
        _check_checkpoint(f"{where}.models.{model}", entry["checkpoint"], MODEL_TYPES)
        first = titles.setdefault(entry["title"], model)
        if first != model:
            raise UserError(
                f"{where}.models.{model}.title: {entry['title']} is the title of {first} too; "
                f"tables tell models by it, give it another"
            )
        if entry["published"] not in (None, *PUBLISHED_MODELS):
            raise UserError(
                f"{where}.models.{model}.published: {entry['published']} is none of the paper's "
                f"{', '.join(PUBLISHED_MODELS)}"
            )
        told = entry["configuration"]
        if told and not Path(told, "config.json").is_file():
            raise UserError(
                f"{where}.models.{model}.configuration: no config.json in {told}; "
                f"correct the path or leave the key out"
            )
    if "florence2_sam2" in annotators(study).values():
        for part, types in (("grounder", ("florence2",)), ("segmenter", ("sam2", "sam2_video"))):
            checkpoint = study["annotator"][part]["checkpoint"]
            _check_checkpoint(f"{where}.annotator.{part}", checkpoint, types)
    _check_setups(where, study)


def _check_dataset(where, study):
    dataset, used = study["dataset"], set(annotators(study).values())
    if dataset["kind"] == "scenes":
        if "images" not in dataset:
            raise UserError(f"{where}.dataset.images: missing; say how many scenes to draw")
        wanted = study["sampling"]["images"]
        if wanted > dataset["images"]:
            raise UserError(
                f"{where}.sampling.images: asks for {wanted} of {dataset['images']} "
                f"scenes; lower it or raise dataset.images"
            )
    elif dataset["kind"] == "coco":
        if dataset["root"] is None and dataset["subset"] != "val2017":
            raise UserError(
                f"{where}.dataset.root: missing; only val2017 is downloaded, name the folder "
                f"that holds {dataset['subset']}"
            )
    else:
        for key, there in (("root", Path.is_dir), ("captions", Path.is_file)):
            if not dataset.get(key) or not there(Path(dataset[key])):
                what = "the images' folder" if key == "root" else "a CSV of file and caption"
                raise UserError(f"{where}.dataset.{key}: no {dataset.get(key) or key}; name {what}")
        for name in ("instances", "release"):
            if name in used:
                raise UserError(
                    f"{where}.annotator.name: {name} has masks of COCO's own images, none of those "
                    f"of a CSV; choose florence2_sam2"
                )


def _check_checkpoint(where, checkpoint, types):
    if checkpoint.startswith((".", "/", "resources/")) and not is_local(checkpoint):
        raise UserError(
            f"{where}.checkpoint: no folder {checkpoint}; correct the path or give a hub id"
        )
    if not is_local(checkpoint) and not re.fullmatch(r"[\w.-]+/[\w.-]+", checkpoint, re.ASCII):
        raise UserError(
            f"{where}.checkpoint: {checkpoint} is neither a folder nor a hub id such as "
            f"Qwen/Qwen2-VL-2B-Instruct; correct it"
        )
    if not is_local(checkpoint):
        return
    told = _read_json(where, Path(checkpoint, "config.json"))
    if told.get("model_type") not in types:
        raise UserError(
            f"{where}.checkpoint: {checkpoint} is of model type {told.get('model_type')}, not "
            f"{' or '.join(types)}; name another"
        )
    if not any(Path(checkpoint).glob("*.safetensors")):
        raise UserError(
            f"{where}.checkpoint: no safetensors in {checkpoint}, and nothing else is read; "
            f"save it with save_pretrained"
        )
    # of these the first holds an image processor alone, the second a whole processor
    processors = ("preprocessor_config.json", "processor_config.json")
    if types == MODEL_TYPES and not any(Path(checkpoint, name).is_file() for name in processors):
        raise UserError(
            f"{where}.checkpoint: no {' or '.join(processors)} in {checkpoint}; save the image "
            f"processor there with save_pretrained"
        )


def _read_json(where, path):
    try:
        told = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError) as error:
        raise UserError(f"{where}.checkpoint: {path} cannot be read ({error})") from error
    return told if isinstance(told, dict) else {}


def decoder_layers(where, entry):
    """How many layers the decoder of a model has, or None before its checkpoint is fetched."""
    folder = entry["configuration"] or entry["checkpoint"]
    if not Path(folder).is_dir():
        return None
    path = Path(folder, "config.json")
    told = _read_json(where, path)
    text = told.get("text_config")
    layers = {**told, **(text if isinstance(text, dict) else {})}.get("num_hidden_layers")
    if layers is not None and type(layers) is not int:
        raise UserError(f"{where}.checkpoint: {path}: num_hidden_layers is {layers!r}; correct it")
    return layers


def _check_setups(where, study):
    published = study["layer_choice"] == "published"
    depths = {
        model: decoder_layers(f"{where}.models.{model}", entry)
        for model, entry in study["models"].items()
    }
    for setup, entry in study["setups"].items():
        chosen = entry["layers"] in ("top", "bottom", "random")
        if published and chosen and setup not in PUBLISHED_SETUPS:
            raise UserError(
                f"{where}.setups.{setup}: the paper has no layers for it; rename it to one of "
                f"{', '.join(PUBLISHED_SETUPS)} or set layer_choice: computed"
            )
        if chosen and "count" not in entry:
            raise UserError(f"{where}.setups.{setup}.count: missing; say how many layers")
        if (entry["layers"] == "none") != (setup == "original"):
            raise UserError(
                f"{where}.setups.{setup}: original is the setup that trains no layer "
                f"(layers: none), and no other is; rename it"
            )
        wanted = entry.get("count", 0) * (3 if entry["layers"] == "random" else 1)
        for model, layers in depths.items():
            if chosen and not published and layers is not None and wanted > layers:
                raise UserError(
                    f"{where}.setups.{setup}.count: {entry['count']} {entry['layers']} layers want "
                    f"a decoder of {wanted}, {model} has {layers}; lower it"
                )
    for model, entry in study["models"].items():
        if published and entry["published"] is None:
            raise UserError(
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
    if error.validator == "type" and error.validator_value == "number":
        # YAML reads 1e-4 as text
        try:
            return (
                f"config.yaml: {where}: {error.instance!r} is text; write {float(error.instance)}"
            )
        except (TypeError, ValueError):
            pass
    mend = error.schema.get("description", "see workflow/schemas/config.schema.yaml")
    return f"config.yaml: {where}: {error.message}; {mend}"

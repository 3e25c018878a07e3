# The configuration, checked, and what the rules ask of it.

import hashlib
import sys
from functools import cache
from pathlib import Path
from shutil import which

from snakemake.exceptions import WorkflowError
from snakemake.utils import validate

# this checkout's package, whatever else is installed
sys.path.insert(0, str(Path(workflow.basedir) / "src"))

from headimpact.config import (
    annotators,
    check_study,
    is_local,
    one_line,
    setup_runs,
    training_of,
)
from headimpact.fingerprint import fingerprint


def stop(message):
    """End the run with one line."""
    sys.exit(str(message))


try:
    validate(config, "../schemas/config.schema.yaml")
except WorkflowError as error:
    stop(one_line(error.__context__))

STUDIES = config["studies"]
DATA = config["downloads"]["folder"]
PUBLISHED = "resources/published"
if config["default_study"] not in STUDIES:
    stop(f"config.yaml: default_study: no study {config['default_study']}; name one of studies")


wildcard_constraints:
    study=r"[A-Za-z0-9][A-Za-z0-9_-]*",
    model=r"[A-Za-z0-9][A-Za-z0-9_-]*",
    setup=r"[A-Za-z0-9][A-Za-z0-9_-]*",
    draw=r"\d+",
    shard=r"\d+",
    number=r"\d+",
    organisation=r"[\w.-]+",
    name=r"[\w.-]+",
    revision=r"[^/@]+",


@cache
def checked(name):
    """The study `name`, after what the schema cannot check; ends the run if it cannot run."""
    if name not in STUDIES:
        stop(f"config.yaml: studies.{name}: missing; add it, or ask for {', '.join(STUDIES)}")
    try:
        check_study(name, STUDIES[name])
    except ValueError as error:
        stop(error)
    return STUDIES[name]


def study_of(wildcards):
    return checked(wildcards.study)


def model_of(wildcards):
    models = study_of(wildcards)["models"]
    if wildcards.model not in models:
        stop(
            f"config.yaml: studies.{wildcards.study}.models.{wildcards.model}: missing; "
            f"add it, or ask for {', '.join(models)}"
        )
    return models[wildcards.model]


def first_model(wildcards):
    return next(iter(part("models")(wildcards).values()))


def setup_of(wildcards):
    setups = study_of(wildcards)["setups"]
    if wildcards.setup not in setups:
        stop(
            f"config.yaml: studies.{wildcards.study}.setups.{wildcards.setup}: missing; "
            f"add it, or ask for {', '.join(setups)}"
        )
    return setups[wildcards.setup]


def layer_choice(name, model, setup):
    """What decides a setup's layers, so that nothing else of it counts where they matter."""
    study = checked(name)
    told = study["setups"][setup]
    if study["layer_choice"] == "published" and told["layers"] in ("top", "bottom", "random"):
        from headimpact.published import published_layers  # pandas, that only this needs

        try:
            published = study["models"][model]["published"]
            return {"layers": published_layers(PUBLISHED, published, setup)}
        except ValueError as error:
            stop(f"config.yaml: studies.{name}.models.{model}.published: {error}")
    return {key: value for key, value in told.items() if key in ("layers", "count")}


def layers_of_setup(wildcards):
    setup_of(wildcards)
    return layer_choice(wildcards.study, wildcards.model, wildcards.setup)


def layers_of_models(wildcards):
    study = study_of(wildcards)
    return [
        {setup: layer_choice(wildcards.study, model, setup) for setup in study["setups"]}
        for model in study["models"]
    ]


def counted_setups(wildcards):
    """What of the setups decides how many parameters one of them trains."""
    setups = part("setups")(wildcards).values()
    return [{k: v for k, v in setup.items() if k in ("layers", "count")} for setup in setups]


def part(*keys):
    """A params function: one part of the study's configuration, so that no other part counts."""

    def read(wildcards):
        value = study_of(wildcards)
        for key in keys:
            value = value[key]
        return value

    return read


@cache
def digest(folder):
    """What tells one local checkpoint from another, without reading all of its weights."""
    found = hashlib.sha256()
    for path in sorted(Path(folder).iterdir()):
        size = path.stat().st_size
        with path.open("rb") as file:
            head = file.read(1 << 20)
            file.seek(max(0, size - (1 << 20)))
            found.update(f"{path.name} {size}".encode() + head + file.read())
    return found.hexdigest()[:16]


# of the hub checkpoints that this run waits for: where it is told what was fetched
WANTED = {}


def fetched(entry):
    """The file that tells what was fetched of a hub checkpoint; nothing for a folder."""
    if is_local(entry["checkpoint"]):
        return []
    path = f"{DATA}/checkpoints/{entry['checkpoint']}@{entry['revision'] or 'main'}.json"
    WANTED[path] = entry["checkpoint"], entry["revision"]
    return path


def checkpoint_params(entry, device, dtype="float32"):
    """What a job needs to load a checkpoint, and what tells it from another."""
    local = is_local(entry["checkpoint"])
    return {
        "checkpoint": entry["checkpoint"],
        "revision": entry["revision"],
        "dtype": dtype,
        "device": device,
        "digest": digest(entry["checkpoint"]) if local else None,
    }


def checkpoint_of(wildcards):
    entry = model_of(wildcards)
    return checkpoint_params(entry, study_of(wildcards)["device"], entry["dtype"])


def fetched_model(wildcards):
    return fetched(model_of(wildcards))


def first_checkpoint(wildcards):
    return checkpoint_params(first_model(wildcards), "cpu")


def fetched_first_model(wildcards):
    return fetched(first_model(wildcards))


def annotator_checkpoint(name):
    """A params function: the grounder or the segmenter, which always run in float32."""

    def read(wildcards):
        study = study_of(wildcards)
        return checkpoint_params(study["annotator"][name], study["device"])

    return read


def fetched_annotator(name):
    def read(wildcards):
        return fetched(study_of(wildcards)["annotator"][name])

    return read


def counted_models(wildcards):
    """What tables 1 and 5 are counted from, a model each."""
    return [
        {
            "title": entry["title"],
            "configuration": entry["configuration"],
            "fetched": entry["configuration"] is None and bool(fetched(entry)),
            **checkpoint_params(entry, "cpu"),
        }
        for entry in part("models")(wildcards).values()
    ]


def fetched_to_count(wildcards):
    entries = part("models")(wildcards).values()
    return [
        fetched(entry) for entry in entries if entry["configuration"] is None and fetched(entry)
    ]


def gpus(wildcards):
    """How many GPUs a job asks for, decided without importing torch."""
    wanted = study_of(wildcards)["device"]
    return int(wanted == "cuda" or (wanted == "auto" and which("nvidia-smi") is not None))


def dataset_root(wildcards):
    """How a job opens the study's images: the arguments of a CocoFolder."""
    dataset, own = study_of(wildcards)["dataset"], f"results/{wildcards.study}/dataset"
    if dataset["kind"] == "scenes":
        return {"root": own, "subset": "scenes"}
    if dataset["kind"] == "captions":
        return {"root": own, "subset": "images", "images": dataset["root"], "upright": True}
    return {"root": dataset["root"] or f"{DATA}/coco", "subset": dataset["subset"]}


def annotation_kinds(study):
    """The annotation files of COCO's layout that a study reads."""
    return ["captions", *(["instances"] if "instances" in annotators(study).values() else [])]


@cache
def coco_files(name):
    """The annotation files of a folder in COCO's layout; what is missing ends the run."""
    from headimpact.dataset.coco import CocoFolder  # pandas, that only such a folder needs

    study, where = checked(name), f"config.yaml: studies.{name}"
    dataset, wanted = study["dataset"], study["sampling"]["images"]
    folder, kinds = CocoFolder(dataset["root"], dataset["subset"]), annotation_kinds(study)
    try:
        folder.check(kinds)
        there = folder.image_count()
    except ValueError as error:
        stop(f"{where}: {error}")
    if wanted > there:
        stop(
            f"{where}.sampling.images: asks for {wanted} images, {folder.root} has {there}; lower it"
        )
    return {k: f"{dataset['root']}/annotations/{k}_{dataset['subset']}.json" for k in kinds}


def annotation_files(wildcards):
    """What a rule that opens images or annotations waits for."""
    study = study_of(wildcards)
    kind, root = study["dataset"]["kind"], study["dataset"]["root"]
    if kind == "scenes":
        return {"dataset": f"results/{wildcards.study}/dataset"}
    if kind == "captions":
        return {"captions": f"results/{wildcards.study}/dataset/annotations/captions_images.json"}
    if root:
        return coco_files(wildcards.study)
    files = {k: f"{DATA}/coco/annotations/{k}_val2017.json" for k in annotation_kinds(study)}
    return {**files, "photographs": f"{DATA}/coco/val2017"}


def annotators_of(wildcards):
    return annotators(study_of(wildcards))


def release_folder(wildcards):
    """The authors' release, for a study that uses it: the user's folder or the one to download."""
    study = study_of(wildcards)
    if "release" not in annotators(study).values():
        return []
    if study["annotator"]["release"] is None:
        return f"{DATA}/release/{config['downloads']['release_commit']}"
    from headimpact.dataset.release import Release  # pandas, that only such a folder needs

    try:
        Release(study["annotator"]["release"]).check()
    except ValueError as error:
        stop(f"config.yaml: studies.{wildcards.study}.{error}")
    return study["annotator"]["release"]


def release_commit(wildcards):
    """The release's commit, or that it is a folder of the user's."""
    own = study_of(wildcards)["annotator"]["release"]
    return config["downloads"]["release_commit"] if own is None else "a folder"


def image_url(wildcards):
    """What the authors' layout writes before an image's name."""
    dataset = study_of(wildcards)["dataset"]
    known = dataset["kind"] == "coco" and dataset["subset"] in ("val2017", "train2017")
    return f"http://images.cocodataset.org/{dataset['subset']}" if known else "images"


def drawn_by(wildcards):
    """What of the sampling decides which images are drawn."""
    sampling = part("sampling")(wildcards)
    return {key: sampling[key] for key in ("images", "spare", "seed", "proportions")}


def annotated(kind):
    """An input function: the shards of all annotators of a study."""

    def files(wildcards):
        used = dict.fromkeys(annotators_of(wildcards).values())
        return [
            f"results/{wildcards.study}/annotations/{annotator}.{shard}{kind}"
            for annotator in used
            for shard in range(part("annotator", "shards")(wildcards))
        ]

    return files


def downloads_of(study):
    """All that a study fetches before it can run where there is no network."""
    told, needs = checked(study), []
    if told["dataset"]["kind"] == "coco" and told["dataset"]["root"] is None:
        needs.append(f"{DATA}/coco/val2017")
    used = annotators(told).values()
    if "release" in used and told["annotator"]["release"] is None:
        needs.append(f"{DATA}/release/{config['downloads']['release_commit']}")
    entries = list(told["models"].values())
    if "florence2_sam2" in used:
        entries += [told["annotator"][name] for name in ("grounder", "segmenter")]
    return needs + [fetched(entry) for entry in entries if fetched(entry)]


def shards(stage):
    """An input function's range over the shards of a stage."""

    def count(wildcards):
        return range(study_of(wildcards)[stage]["shards"])

    return count


def models_of(wildcards):
    return list(study_of(wildcards)["models"])


def titles_of(wildcards):
    return [entry["title"] for entry in study_of(wildcards)["models"].values()]


def scores_if_needed(wildcards):
    """The setups that take all layers, or none, wait for no Head Impact."""
    setup_of(wildcards)
    if layers_of_setup(wildcards)["layers"] in ("top", "bottom", "random"):
        return "results/{study}/{model}/head_scores.parquet"
    return []


def adapter_if_any(wildcards):
    if setup_of(wildcards)["layers"] == "none":
        return []
    return "results/{study}/{model}/{setup}/{draw}/adapter"


def runs_of(kind):
    """An input function: the files of that kind of all models and setups, in their order."""

    def files(wildcards):
        return [
            f"results/{wildcards.study}/{model}/{setup}/{draw}/{kind}"
            for model in models_of(wildcards)
            for setup, draw in setup_runs(study_of(wildcards))
        ]

    return files


def of_models(file):
    """An input function: a file of every model, in their order."""

    def files(wildcards):
        return [f"results/{wildcards.study}/{model}/{file}" for model in models_of(wildcards)]

    return files


def published_names(wildcards):
    """The paper's name of each model that has one there (dict title: name); none ends the run."""
    entries = part("models")(wildcards).values()
    names = {entry["title"]: entry["published"] for entry in entries if entry["published"]}
    if not names:
        stop(
            f"config.yaml: studies.{wildcards.study}.models: no model says which of the paper's it "
            f"is; add published: to one"
        )
    return names


def check_access_to_checkpoints():
    """End the run before any job if a checkpoint that it waits for cannot be fetched."""
    missing = [told for path, told in WANTED.items() if not Path(path).exists()]
    if not missing:
        return
    from headimpact.models.hub import check_access

    for checkpoint, revision in missing:
        try:
            check_access(checkpoint, revision)
        except (ValueError, OSError) as error:
            stop(error)


def report_study():
    """The last lines of a run: whose study the tables are of, and which makes the paper's."""
    made = [name for name in STUDIES if any(Path(f"results/{name}").glob("table*.csv"))]
    lines = [f"results/{name}/ is the study {name}: {STUDIES[name]['title']}." for name in made]
    if any(Path("results").glob("table*.csv")):
        lines.append(f"The tables in results/ are copies of the study {config['default_study']}'s.")
    if lines:
        lines.append("The paper's: snakemake --cores 4 results/paper/table4.csv")
        print("", *lines, sep="\n", file=sys.stderr)

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

from headimpact.config import check_study, one_line, setup_runs, training_of
from headimpact.fingerprint import fingerprint


def stop(message):
    """End the run with one line."""
    sys.exit(str(message))


try:
    validate(config, "../schemas/config.schema.yaml")
except WorkflowError as error:
    stop(one_line(error.__context__))

STUDIES = config["studies"]
if config["default_study"] not in STUDIES:
    stop(f"config.yaml: default_study: no study {config['default_study']}; name one of studies")


wildcard_constraints:
    study=r"[A-Za-z0-9][A-Za-z0-9_-]*",
    model=r"[A-Za-z0-9][A-Za-z0-9_-]*",
    setup=r"[A-Za-z0-9][A-Za-z0-9_-]*",
    draw=r"\d+",
    shard=r"\d+",
    number=r"\d+",


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


def setup_of(wildcards):
    setups = study_of(wildcards)["setups"]
    if wildcards.setup not in setups:
        stop(
            f"config.yaml: studies.{wildcards.study}.setups.{wildcards.setup}: missing; "
            f"add it, or ask for {', '.join(setups)}"
        )
    return setups[wildcards.setup]


def layer_choice(setup):
    """What of a setup decides its layers, so that nothing else of it counts where they matter."""
    return {key: value for key, value in setup.items() if key in ("layers", "count")}


def layer_choices(wildcards):
    return {name: layer_choice(setup) for name, setup in part("setups")(wildcards).items()}


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


def checkpoint_of(wildcards):
    """What a job needs to load its model, and what tells that model from another."""
    entry = model_of(wildcards)
    local = Path(entry["checkpoint"]).is_dir()
    return {
        "checkpoint": entry["checkpoint"],
        "revision": entry["revision"],
        "dtype": entry["dtype"],
        "device": study_of(wildcards)["device"],
        "digest": digest(entry["checkpoint"]) if local else None,
    }


def gpus(wildcards):
    """How many GPUs a job asks for, decided without importing torch."""
    wanted = study_of(wildcards)["device"]
    return int(wanted == "cuda" or (wanted == "auto" and which("nvidia-smi") is not None))


def dataset_root(wildcards):
    """The folder in COCO's layout that the study's images lie in, and their subset."""
    dataset = study_of(wildcards)["dataset"]
    if dataset["kind"] == "scenes":
        return {"root": f"results/{wildcards.study}/dataset", "subset": "scenes"}
    return {"root": dataset["root"], "subset": dataset["subset"]}


@cache
def coco_files(name):
    """The annotation files of a folder in COCO's layout; what is missing ends the run."""
    from headimpact.dataset.coco import CocoFolder  # pandas, that only such a folder needs

    study, where = checked(name), f"config.yaml: studies.{name}"
    dataset, wanted = study["dataset"], study["sampling"]["images"]
    folder = CocoFolder(dataset["root"], dataset["subset"])
    try:
        folder.check()
        there = folder.image_count()
    except ValueError as error:
        stop(f"{where}: {error}")
    if wanted > there:
        stop(
            f"{where}.sampling.images: asks for {wanted} images, {folder.root} has {there}; lower it"
        )
    kinds = ("captions", "instances")
    return {k: f"{dataset['root']}/annotations/{k}_{dataset['subset']}.json" for k in kinds}


def annotation_files(wildcards):
    """What a rule that opens images or annotations waits for."""
    if study_of(wildcards)["dataset"]["kind"] == "scenes":
        return {"dataset": f"results/{wildcards.study}/dataset"}
    return coco_files(wildcards.study)


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
    if setup_of(wildcards)["layers"] in ("all", "none"):
        return []
    return "results/{study}/{model}/head_scores.parquet"


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


def scores_of_models(wildcards):
    return expand(
        "results/{study}/{model}/head_scores.parquet",
        study=wildcards.study,
        model=models_of(wildcards),
    )


def report_study():
    """The last lines of a run: whose study the tables are of, and which makes the paper's."""
    made = [name for name in STUDIES if any(Path(f"results/{name}").glob("table*.csv"))]
    lines = [f"results/{name}/ is the study {name}: {STUDIES[name]['title']}." for name in made]
    if any(Path("results").glob("table*.csv")):
        lines.append(f"The tables in results/ are copies of the study {config['default_study']}'s.")
    if lines:
        lines.append("The paper's: snakemake --cores 4 results/paper/table4.csv")
        print("", *lines, sep="\n", file=sys.stderr)

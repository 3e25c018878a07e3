# The configuration, checked, and the parts of a study that rules take as params.

from functools import cache
from shutil import which

import yaml
from snakemake.exceptions import WorkflowError
from snakemake.utils import validate

from headimpact.config import check_study, check_tree, one_line
from headimpact.code_version import fingerprint

try:
    check_tree(config)
    validate(config, "../schemas/config.schema.yaml")
except ValueError as error:
    stop(error)
except WorkflowError as error:
    stop(one_line(error.__context__))

STUDIES = config["studies"]
with Path(workflow.basedir, "envs/headimpact.yaml").open() as file:
    PINS = dict(pin.split("==") for pin in yaml.safe_load(file)["dependencies"][-1]["pip"])
DATA = config["downloads"]["folder"]
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


def meaning(script):
    """What the code of a rule's script means, with the pins of the packages that it uses."""
    return fingerprint(Path(workflow.basedir, f"workflow/scripts/{script}.py"), PINS)


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


def part(*keys):
    """A params function: one part of the study's configuration, so that no other part counts."""

    def read(wildcards):
        value = study_of(wildcards)
        for key in keys:
            value = value[key]
        return value

    return read


def gpus(wildcards):
    """How many GPUs a job asks for, decided without importing torch."""
    wanted = study_of(wildcards)["device"]
    # where jobs go to a cluster this machine is not the one that runs them
    there = workflow.non_local_exec or which("nvidia-smi") is not None
    return int(wanted == "cuda" or (wanted == "auto" and there))


def shards(stage):
    """An input function's range over the shards of a stage."""

    def count(wildcards):
        return range(study_of(wildcards)[stage]["shards"])

    return count


def models_of(wildcards):
    return list(study_of(wildcards)["models"])


def titles_of(wildcards):
    return [entry["title"] for entry in study_of(wildcards)["models"].values()]


def of_models(file):
    """An input function: a file of every model, in their order."""

    def files(wildcards):
        return [f"results/{wildcards.study}/{model}/{file}" for model in models_of(wildcards)]

    return files


def report_study():
    """The last lines of a run: whose study the tables are of, and which makes the paper's."""
    made = [name for name in STUDIES if any(Path(f"results/{name}").glob("table*.csv"))]
    lines = [f"results/{name}/ is the study {name}: {STUDIES[name]['title']}." for name in made]
    if any(Path("results").glob("table*.csv")):
        lines.append(f"The tables in results/ are copies of the study {config['default_study']}'s.")
    if lines and "paper" in STUDIES:
        lines.append("The paper's: snakemake --cores 4 results/paper/table4.csv")
    if lines:
        print("", *lines, sep="\n", file=sys.stderr)

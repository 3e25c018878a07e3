# How rules ask the studies of config.yaml: every function here answers for a job's wildcards.

from functools import cache
from shutil import which

from pydantic import BaseModel

from headimpact import checkpoints, code_version, registry
from headimpact.study.config import parse_config

try:
    CONFIG = parse_config(config)
except UserError as error:
    stop(error)

SCRIPTS = Path(workflow.basedir, "workflow/scripts")
DATA = CONFIG.downloads.folder
# jobs in conda environments run the versions that envs/ pins, not those of this environment
in_conda = "conda" in map(str, workflow.deployment_settings.deployment_method)
VERSIONS = (
    code_version.pinned_versions(Path(workflow.basedir, "envs/headimpact.yaml"))
    if in_conda
    else code_version.installed_version
)


wildcard_constraints:
    study=r"[A-Za-z0-9][A-Za-z0-9_-]*",
    model=r"[A-Za-z0-9][A-Za-z0-9_-]*",
    score=r"[A-Za-z0-9][A-Za-z0-9_-]*",
    setup=r"[A-Za-z0-9][A-Za-z0-9_-]*",
    variant=r"[A-Za-z0-9][A-Za-z0-9_-]*",
    annotator=r"\w+",
    draw=r"\d+",
    shard=r"\d+",
    number=r"\d+",
    organisation=r"[\w.-]+",
    name=r"[\w.-]+",
    revision=r"[^/@]+",


@cache
def study_named(name):
    """The study `name`, with the folders that it names checked; ends the run if it cannot run."""
    try:
        return CONFIG.study(name)
    except UserError as error:
        stop(error)


def ask(question):
    """An input or params function: the answer of question(study, wildcards)."""
    return lambda wildcards: question(study_named(wildcards.study), wildcards)


def setting(*keys):
    """A params function: the value at a path of keys below the study, as plain data."""

    def read(study, wildcards):
        value = study
        for key in keys:
            value = getattr(value, key)
        return value.model_dump() if isinstance(value, BaseModel) else value

    return ask(read)


def entry_of(kind, mapping, name, study_name):
    """An entry of a study's models, scores or setups; a name that it lacks ends the run."""
    if name not in mapping:
        where = f"config.yaml: studies.{study_name}.{kind}.{name}"
        stop(f"{where}: missing; add it, or ask for {', '.join(mapping)}")
    return mapping[name]


def model_of(study, wildcards):
    return entry_of("models", study.models, wildcards.model, wildcards.study)


def setup_of(study, wildcards):
    return entry_of("setups", study.setups, wildcards.setup, wildcards.study)


def score_of(study, wildcards):
    return entry_of("scores", study.scores, wildcards.score, wildcards.study)


def of_models(file):
    """An input function: a file of every model, in their order. file: may hold {first_score}."""
    return ask(
        lambda study, wildcards: [
            f"results/{wildcards.study}/{model}/{file.format(first_score=study.first_score)}"
            for model in study.models
        ]
    )


titles = ask(lambda study, wildcards: [model.title for model in study.models.values()])


def code(script, *entries):
    """A params function: the version of the code that a script runs.

    entries: functions (study, wildcards) -> entries of the registry that the job uses.
    """
    path = SCRIPTS / f"{script}.py"

    def version(study, wildcards):
        used = [entry for entries_of in entries for entry in entries_of(study, wildcards)]
        return code_version_of(path, tuple(sorted({entry.module for entry in used})))

    return ask(version)


@cache
def code_version_of(path, modules=()):
    return code_version.code_version(path, modules, VERSIONS)


def families(models):
    """The families of models; all families for a checkpoint that has yet to be fetched."""
    used = {}
    for model in models:
        folder = model.configuration or model.checkpoint
        name = None
        if checkpoints.is_local(folder):
            name = registry.family_of(checkpoints.model_type(folder))
        used |= {name: registry.FAMILIES[name]} if name else registry.FAMILIES
    return list(used.values())


def model_family(study, wildcards):
    return families([model_of(study, wildcards)])


def first_model_family(study, wildcards):
    return families([study.first_model])


def all_model_families(study, wildcards):
    return families(study.models.values())


def score_entry(study, wildcards):
    return [registry.SCORES[score_of(study, wildcards).kind]]


def family_of_score(study, wildcards):
    """The family of the model, for a score that runs it."""
    return model_family(study, wildcards) if runs_model(study, wildcards) else []


def runs_model(study, wildcards):
    return "model" in score_entry(study, wildcards)[0].needs


def layer_choice_entry(study, wildcards):
    return [registry.LAYER_CHOICES[setup_of(study, wildcards).choice]]


def method_entry(study, wildcards):
    setup_of(study, wildcards)
    return [registry.METHODS[study.method_of(wildcards.setup).kind]]


def counted_method_entry(study, wildcards):
    return [registry.METHODS[study.method_of(study.counted_setup).kind]]


def metric_entries(study, wildcards):
    return [registry.METRICS[metric.kind] for metric in study.metrics.values()]


def annotator_entry(study, wildcards):
    return [registry.ANNOTATORS[wildcards.annotator]]


def annotator_runs_model(study, wildcards):
    return "model" in annotator_entry(study, wildcards)[0].needs


@ask
def annotator_group(study, wildcards):
    return None if annotator_runs_model(study, wildcards) else "samples"


def gpus(needed=lambda study, wildcards: True):
    """A resource function: how many GPUs a job asks for, without importing torch."""

    def count(study, wildcards):
        # on a cluster this machine is not the one that runs the jobs
        here = which("nvidia-smi") is not None or Path("/dev/kfd").exists()
        available = workflow.non_local_exec or here
        wanted = study.device == "cuda" or (study.device == "auto" and available)
        return int(bool(wanted and needed(study, wildcards)))

    return ask(count)

# The studies of config.yaml, and the functions by which rules ask them for inputs and params.

from functools import cache
from inspect import signature

from pydantic import BaseModel

from headimpact import checkpoints, code_version, registry, score_registry
from headimpact.guards import has_gpu
from headimpact.study.config import parse_config
from headimpact.study.plan import Plan

try:
    CONFIG = parse_config(config)
except UserError as error:
    stop(error)

SCRIPTS = Path(workflow.basedir, "workflow/scripts")
DATA = CONFIG.downloads.folder
PLANS = {}  # study: its Plan, of the studies that this run works on
# jobs in conda environments run the versions that envs/ pins, not those of this environment
IN_CONDA = "conda" in map(str, workflow.deployment_settings.deployment_method)
VERSIONS = (
    code_version.pinned_versions(Path(workflow.basedir, "envs/headimpact.yaml"))
    if IN_CONDA
    else code_version.installed_version
)


wildcard_constraints:
    study=r"[A-Za-z0-9][A-Za-z0-9_-]*",
    model=r"[A-Za-z0-9][A-Za-z0-9_-]*",
    score=r"[A-Za-z0-9][A-Za-z0-9_-]*",
    design="|".join(score_registry.DESIGNS),
    setup=r"[A-Za-z0-9][A-Za-z0-9_-]*",
    variant=r"[A-Za-z0-9][A-Za-z0-9_-]*",
    annotator=r"\w+",
    draw=r"\d+",
    shard=r"\d+",
    number=r"\d+",
    organisation=r"[\w.-]+",
    name=r"[\w.-]+",
    revision=r"[^/@]+",


def plan_of(study):
    """The Plan of a study, with the folders that it names checked once."""
    if study not in PLANS:
        plan = Plan(CONFIG, study)
        check_images(plan)
        check_published_layers(plan)
        PLANS[study] = plan
    return PLANS[study]


def check_images(plan):
    """Raise UserError unless a folder of the user's holds the files that the study reads."""
    dataset, where = plan.study.dataset, f"config.yaml: studies.{plan.name}"
    own_release = plan.release_folder() not in ([], plan.release)
    own_images = dataset.kind == "captions" or (dataset.kind == "coco" and dataset.root is not None)
    if not own_release and not own_images:
        return
    from headimpact.dataset.coco import CocoFolder  # imports pandas
    from headimpact.dataset.release import Release

    try:
        if own_release:
            Release(plan.release_folder()).check()
        if own_images:
            folder = CocoFolder(**plan.images_folder())
            if dataset.kind == "coco":
                folder.check(plan.study.annotation_kinds)
            folder.check_count(plan.study.sampling.images)
    except UserError as error:
        raise UserError(f"{where}.{error}") from error


def check_published_layers(plan):
    """Raise UserError unless each decoder has the layers that the paper prints for its model."""
    setups = [name for name, setup in plan.study.setups.items() if setup.layers == "published"]
    if not setups:
        return
    from headimpact.scores.layers import Decoder, published  # imports pandas

    where = f"config.yaml: studies.{plan.name}"
    for name, model in plan.study.models.items():
        folder = model.configuration or model.checkpoint
        if not checkpoints.is_local(folder):
            continue  # known once it is fetched
        depth = checkpoints.decoder_layers(f"{where}.models.{name}.checkpoint", folder)
        for setup in setups:
            try:
                published(Decoder(depth, published=model.published, setup=setup))
            except UserError as error:
                raise UserError(f"{where}.{error}") from error


def files_to_fetch(study):
    """All downloads of a study."""
    try:
        return plan_of(study).download_files()
    except UserError as error:
        stop(error)


def answering(question):
    """An input, params or resource function: question(plan, wildcards); an error ends the run."""

    def answer(wildcards):
        try:
            return question(plan_of(wildcards.study), wildcards)
        except UserError as error:
            stop(error)

    return answer


def ask(method, **given):
    """A function of the wildcards: what a method of the study's Plan answers to those it names."""
    names = [name for name in signature(getattr(Plan, method)).parameters if name != "self"]

    def question(plan, wildcards):
        asked = {name: wildcards[name] for name in names if name not in given}
        return getattr(plan, method)(**asked, **given)

    return answering(question)


def setting(*keys):
    """A params function: the value at a path of keys below the study, as plain data."""

    def question(plan, wildcards):
        value = plan.study
        for key in keys:
            value = getattr(value, key)
        return value.model_dump() if isinstance(value, BaseModel) else value

    return answering(question)


def code(script, *entries):
    """A params function: the version of the code that a script runs.

    entries: functions (plan, wildcards) -> the entries of the registry that the job uses.
    """

    def question(plan, wildcards):
        used = [entry for entries_of in entries for entry in entries_of(plan, wildcards)]
        return script_version(script, tuple(sorted({entry.module for entry in used})))

    return answering(question)


@cache
def script_version(script, modules=()):
    return code_version.code_version(SCRIPTS / f"{script}.py", modules, VERSIONS)


def families(models):
    """The families of models; all families for a checkpoint that has yet to be fetched."""
    used = {}
    for model in models:
        folder = model.configuration or model.checkpoint
        local = checkpoints.is_local(folder)
        name = registry.family_of(checkpoints.model_type(folder)) if local else None
        used |= {name: registry.FAMILIES[name]} if name else registry.FAMILIES
    return list(used.values())


def model_family(plan, wildcards):
    return families([plan.model(wildcards.model)])


def first_model_family(plan, wildcards):
    return families([plan.study.first_model])


def all_model_families(plan, wildcards):
    return families(plan.study.models.values())


def score_entry(plan, wildcards):
    return [registry.SCORES[plan.score_settings(wildcards.score)["kind"]]]


def first_score_entry(plan, wildcards):
    return [registry.SCORES[plan.score_settings(plan.study.first_score)["kind"]]]


def resampled_score_entries(plan, wildcards):
    return [registry.SCORES[score["kind"]] for score in plan.scores_of_top_setups().values()]


def null_entry(plan, wildcards):
    return [entry.nulls for entry in score_entry(plan, wildcards) if entry.nulls]


def score_family(plan, wildcards):
    """The family of the model, for a score that opens it."""
    opened = plan.score_checkpoint(wildcards.model, wildcards.score)
    return model_family(plan, wildcards) if opened else []


def layer_choice_entry(plan, wildcards):
    choice = plan.layer_choice(wildcards.model, wildcards.setup)["choice"]
    return [registry.LAYER_CHOICES[choice]]


def method_entry(plan, wildcards):
    return [registry.METHODS[plan.method(wildcards.setup)["kind"]]]


def counted_method_entry(plan, wildcards):
    return [registry.METHODS[plan.counted_method()["kind"]]]


def metric_entries(plan, wildcards):
    return [registry.METRICS[metric["kind"]] for metric in plan.metrics().values()]


def annotator_entry(plan, wildcards):
    return [plan.annotator(wildcards.annotator)]


def gpu_available():
    """Whether jobs can have a GPU; on a cluster this machine is not the one that runs them."""
    return workflow.non_local_exec or workflow.remote_exec or has_gpu()


def model_to_run(plan, wildcards):
    """The record of a model's checkpoint, for a job that runs it; raises UserError without a GPU."""
    if plan.study.device == "cuda" and not gpu_available():
        raise UserError(
            f"config.yaml: studies.{plan.name}.device: cuda, and this machine has no GPU; set "
            f"device: auto or cpu, or run it with a cluster's profile"
        )
    return plan.fetched_model(wildcards.model)


def gpus(needed=None):
    """A resource function: how many GPUs a job asks for, without importing torch.

    needed: a method of Plan that says whether the job runs a model; every job does if None.
    """

    def question(plan, wildcards):
        runs_model = needed is None or ask(needed)(wildcards)
        return int(runs_model and plan.study.device != "cpu" and gpu_available())

    return answering(question)


def check_access_to_checkpoints():
    """End the run before any job if a checkpoint that it waits for cannot be fetched."""
    awaited = {path: entry for plan in PLANS.values() for path, entry in plan.awaited.items()}
    missing = [entry for path, entry in awaited.items() if not Path(path).exists()]
    if not missing:
        return
    from headimpact.fetch.hub import check_access

    errors = []
    for checkpoint, revision in missing:
        try:
            check_access(checkpoint, revision)
        except UserError as error:
            errors.append(str(error))
    if errors:
        sys.exit("\n".join(errors))

# The files that rules wait for: images, annotations, checkpoints, and what runs leave.

COCO = f"{DATA}/coco"
RELEASE = f"{DATA}/release/{CONFIG.downloads.release_commit}"
WANTED = {}  # record of a hub checkpoint that this run waits for: its id and revision


# ------------------------------------------------------------------ images and annotations


@ask
def images_folder(study, wildcards):
    """How a job opens the study's images: the arguments of a CocoFolder."""
    dataset, own = study.dataset, f"results/{wildcards.study}/dataset"
    if dataset.kind == "scenes":
        return {"root": own, "subset": "scenes"}
    if dataset.kind == "captions":
        return {"root": own, "subset": "images", "images": dataset.root, "upright": True}
    return {"root": dataset.root or COCO, "subset": dataset.subset}


@cache
def coco_files(name):
    """The annotation files of a folder in COCO's layout; what is missing ends the run."""
    from headimpact.dataset.coco import CocoFolder  # imports pandas

    study, where = study_named(name), f"config.yaml: studies.{name}"
    dataset, kinds = study.dataset, study.annotation_kinds
    folder = CocoFolder(dataset.root, dataset.subset)
    try:
        folder.check(kinds)
        count = folder.image_count()
    except UserError as error:
        stop(f"{where}: {error}")
    if study.sampling.images > count:
        stop(
            f"{where}.sampling.images: asks for {study.sampling.images} images, {folder.root} has "
            f"{count}; lower it"
        )
    return {k: f"{dataset.root}/annotations/{k}_{dataset.subset}.json" for k in kinds}


@ask
def annotation_files(study, wildcards):
    """What a rule that opens images or annotations waits for."""
    if study.dataset.kind == "scenes":
        return {"dataset": f"results/{wildcards.study}/dataset"}
    if study.dataset.kind == "captions":
        return {"captions": f"results/{wildcards.study}/dataset/annotations/captions_images.json"}
    if study.dataset.root:
        return coco_files(wildcards.study)
    files = {kind: f"{COCO}/annotations/{kind}_val2017.json" for kind in study.annotation_kinds}
    return {**files, "photographs": f"{COCO}/val2017"}


@ask
def release_folder(study, wildcards):
    """The authors' release, if the study uses it: the user's folder or the one to download."""
    if not study.annotators_that_need("release"):
        return []
    own = study.annotator.options["release"]
    if own is None:
        return RELEASE
    from headimpact.dataset.release import Release  # imports pandas

    try:
        Release(own).check()
    except UserError as error:
        stop(f"config.yaml: studies.{wildcards.study}.{error}")
    return own


@ask
def image_url(study, wildcards):
    """What the authors' layout writes before an image's name."""
    dataset = study.dataset
    known = dataset.kind == "coco" and dataset.subset in ("val2017", "train2017")
    return f"http://images.cocodataset.org/{dataset.subset}" if known else "images"


def annotated(suffix):
    """An input function: the shards of all annotators of a study."""
    return ask(
        lambda study, wildcards: [
            f"results/{wildcards.study}/annotations/{annotator}.{shard}{suffix}"
            for annotator in study.annotator.used
            for shard in range(study.annotator.shards)
        ]
    )


# ------------------------------------------------------------------ checkpoints


def fetched(checkpoint, revision):
    """The record of what was fetched of a hub checkpoint; nothing for a folder."""
    if checkpoints.is_local(checkpoint):
        return []
    path = f"{DATA}/checkpoints/{checkpoint}@{revision or 'main'}.json"
    WANTED[path] = checkpoint, revision
    return path


@ask
def fetched_model(study, wildcards):
    model = model_of(study, wildcards)
    return fetched(model.checkpoint, model.revision)


def checkpoint_data(checkpoint, revision):
    """What identifies a checkpoint."""
    local = checkpoints.is_local(checkpoint)
    identity = checkpoints.folder_identity(checkpoint) if local else None
    return {"checkpoint": checkpoint, "revision": revision, "identity": identity}


@ask
def first_checkpoint(study, wildcards):
    return checkpoint_data(study.first_model.checkpoint, study.first_model.revision)


@ask
def fetched_first_model(study, wildcards):
    return fetched(study.first_model.checkpoint, study.first_model.revision)


@ask
def checkpoint_files(study, wildcards):
    """The checkpoint of a model, for a job that reads its configuration and processors alone."""
    model = model_of(study, wildcards)
    return checkpoint_data(model.checkpoint, model.revision)


@ask
def checkpoint_of_score(study, wildcards):
    """The checkpoint of a model, for a score that runs it."""
    return checkpoint_to_run(wildcards) if runs_model(study, wildcards) else None


@ask
def checkpoint_to_run(study, wildcards):
    """The checkpoint of a model, for a job that runs it."""
    model = model_of(study, wildcards)
    where = {"device": study.device, "dtype": model.dtype}
    return checkpoint_data(model.checkpoint, model.revision) | where


@ask
def annotator_inputs(study, wildcards):
    """What an annotator waits for beside the images: the release, its checkpoints."""
    entry, options = registry.ANNOTATORS[wildcards.annotator], study.annotator.options
    files = {name: fetched_annotator(options[name]) for name in entry.checkpoints}
    if "release" in entry.needs:
        files["release"] = release_folder(wildcards)
    return files


@ask
def fetched_to_count(study, wildcards):
    files = [
        fetched(m.checkpoint, m.revision) for m in study.models.values() if not m.configuration
    ]
    return [file for file in files if file]


def fetched_annotator(entry):
    return fetched(entry["checkpoint"], entry.get("revision"))


@ask
def annotator_options(study, wildcards):
    """The options of an annotator; one that names a checkpoint with what identifies that."""
    entry, options = registry.ANNOTATORS[wildcards.annotator], study.annotator.options
    values = {name: options[name] for name in entry.options}
    for name in entry.checkpoints:
        values[name] = checkpoint_data(values[name]["checkpoint"], values[name].get("revision"))
    if "model" in entry.needs:
        values["device"] = study.device
    if "release" in entry.needs:
        values["release"] = values["release"] or CONFIG.downloads.release_commit
    return values


@ask
def counted_models(study, wildcards):
    """What tables 1 and 5 are counted from, a model each."""
    return [
        {
            "title": model.title,
            "configuration": model.configuration,
            **checkpoint_data(model.checkpoint, model.revision),
        }
        for model in study.models.values()
    ]


# ------------------------------------------------------------------ scores, layers and runs


@ask
def score_settings(study, wildcards):
    return score_of(study, wildcards).as_data()


@ask
def method_settings(study, wildcards):
    setup_of(study, wildcards)
    return study.method_of(wildcards.setup).as_data()


def attention_of(study, wildcards, model):
    """Every shard of a model's attention."""
    return [
        f"results/{wildcards.study}/{model}/attention/{shard}.parquet"
        for shard in range(study.attention.shards)
    ]


@ask
def attention_of_models(study, wildcards):
    return [file for model in study.models for file in attention_of(study, wildcards, model)]


@ask
def score_inputs(study, wildcards):
    """What a head score waits for, by its needs in the registry."""
    (entry,), folder = score_entry(study, wildcards), f"results/{wildcards.study}"
    files = {}
    if "attention" in entry.needs:
        files["tokens"] = f"{folder}/{wildcards.model}/tokens.parquet"
        files["attention"] = attention_of(study, wildcards, wildcards.model)
    if runs_model(study, wildcards):
        files |= annotation_files(wildcards)
        files["checkpoint"] = fetched_model(wildcards)
    return files


@ask
def layer_scores_file(study, wildcards):
    """The score that ranks the layers of a setup; a setup that needs none waits for none."""
    setup_of(study, wildcards)
    score = study.score_of(wildcards.setup)
    return [] if score is None else f"results/{{study}}/{{model}}/scores/{score}.parquet"


@ask
def layer_choice(study, wildcards):
    """All that decides the layers of a setup beside their scores."""
    setup, model = setup_of(study, wildcards), model_of(study, wildcards)
    choice = study.layer_choice(wildcards.setup, wildcards.model)
    if setup.layers == "published":
        check_published_layers(wildcards.study, wildcards.setup, wildcards.model)
    return choice


@cache
def check_published_layers(study_name, setup, model_name):
    """End the run if the paper's layers of a setup are more than a model's decoder has."""
    from headimpact.scores.layers import Decoder, published  # imports pandas

    model, where = study_named(study_name).models[model_name], f"config.yaml: studies.{study_name}"
    folder = model.configuration or model.checkpoint
    if not checkpoints.is_local(folder):
        return  # the job says so
    depth = checkpoints.decoder_layers(f"{where}.models.{model_name}.checkpoint", folder)
    try:
        published(Decoder(depth, published=model.published, setup=setup))
    except UserError as error:
        stop(f"{where}.{error}")


def run_files(file, trained_only=False):
    """A function (study, wildcards): a file of every run of every model, in their order."""
    return lambda study, wildcards: [
        f"results/{wildcards.study}/{model}/{run.path}/{file}"
        for model in study.models
        for run in study.runs()
        if not (trained_only and study.setups[run.setup].layers == "none")
    ]


@ask
def layers_of_draws(study, wildcards):
    """layers.json of every model, setup and draw."""
    return [
        f"results/{wildcards.study}/{model}/{setup}/{draw}/layers.json"
        for model in study.models
        for setup, entry in study.setups.items()
        for draw in range(entry.draws)
    ]


@ask
def draws(study, wildcards):
    """(setup, draw) of each layers.json of a model."""
    return [(name, n) for name, setup in study.setups.items() for n in range(setup.draws)]


@ask
def runs(study, wildcards):
    """(setup, variant, draw) of each run of a model."""
    return [(run.setup, run.variant, run.draw) for run in study.runs()]


@ask
def adapter_files(study, wildcards):
    """The adapter that an evaluation loads; nothing for the model as it is."""
    if setup_of(study, wildcards).layers == "none":
        return {}
    folder = "results/{study}/{model}/{setup}/{variant}/{draw}"
    return {"adapter": f"{folder}/adapter", "history": f"{folder}/history.json"}


@ask
def training_values(study, wildcards):
    """How a run is trained; draw n has the seed + n."""
    setup_of(study, wildcards)
    if wildcards.variant not in study.variant_names:
        stop(
            f"config.yaml: studies.{wildcards.study}.variants.{wildcards.variant}: missing; add "
            f"it, or ask for {', '.join(study.variant_names)}"
        )
    values = study.training_of(wildcards.setup, wildcards.variant)
    return values | {"seed": values["seed"] + int(wildcards.draw)}


@ask
def features_record(study, wildcards):
    """The record of a model's kept image features, if they are to be kept."""
    return "results/{study}/{model}/features.json" if study.shortcuts.kept_features else []


@ask
def published_names(study, wildcards):
    """The paper's name of each model that has one (dict title: name); none ends the run."""
    names = {model.title: model.published for model in study.models.values() if model.published}
    if not names:
        stop(
            f"config.yaml: studies.{wildcards.study}.models: no model says which of the paper's it "
            f"is; add published: to one"
        )
    return names


# ------------------------------------------------------------------ downloads


def downloads_of(name):
    """All that a study fetches before it can run where there is no network."""
    study, files = study_named(name), []
    if study.downloads_coco:
        files.append(f"{COCO}/val2017")
    if study.annotators_that_need("release") and study.annotator.options["release"] is None:
        files.append(RELEASE)
    files += [fetched(model.checkpoint, model.revision) for model in study.models.values()]
    files += [fetched_annotator(study.annotator.options[n]) for n in study.annotator.checkpoints]
    return [file for file in files if file]


def check_access_to_checkpoints():
    """End the run before any job if a checkpoint that it waits for cannot be fetched."""
    missing = [entry for path, entry in WANTED.items() if not Path(path).exists()]
    if not missing:
        return
    from headimpact.fetch.hub import check_access

    for checkpoint, revision in missing:
        try:
            check_access(checkpoint, revision)
        except UserError as error:
            stop(error)

# The setups of a study: the layers that each trains, its runs and what they wait for.

from headimpact.config import decoder_layers, setup_runs, training_of

PUBLISHED = "resources/published"


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
        from headimpact.report.published import published_layers  # pandas, that only this needs

        try:
            published = study["models"][model]["published"]
            layers = published_layers(PUBLISHED, published, setup)
            there = decoder_layers("", study["models"][model])
            if there is not None and max(layers) >= there:
                raise ValueError(f"{setup} trains layer {max(layers)}, this decoder has {there}")
            return {"layers": layers}
        except ValueError as error:
            stop(f"config.yaml: studies.{name}.models.{model}.published: {error}")
    return choice_of(told)


def choice_of(setup):
    """What of a setup says how its layers are chosen."""
    return {key: value for key, value in setup.items() if key in ("layers", "count")}


def layers_of_setup(wildcards):
    setup_of(wildcards)
    return layer_choice(wildcards.study, wildcards.model, wildcards.setup)


def layers_of_models(wildcards):
    study = study_of(wildcards)
    return [
        {setup: layer_choice(wildcards.study, model, setup) for setup in study["setups"]}
        for model in study["models"]
    ]


def counted_layers(wildcards):
    """How many layers the adapter of table 5 trains: the first top setup's; None for all."""
    setups = part("setups")(wildcards).values()
    return next((setup["count"] for setup in setups if setup["layers"] == "top"), None)


def layer_seed_of_setup(wildcards):
    """The seed that draws a setup's layers, for those alone that are drawn."""
    drawn = layers_of_setup(wildcards)["layers"] == "random"
    return study_of(wildcards)["layer_seed"] if drawn else None


def scores_if_needed(wildcards):
    """The setups that take all layers, or none, wait for no Head Impact."""
    setup_of(wildcards)
    if layers_of_setup(wildcards)["layers"] in ("top", "bottom", "random"):
        return "results/{study}/{model}/head_scores.parquet"
    return []


def told_runs(wildcards):
    """(setup, draw, which layers it trains) of each run."""
    study = study_of(wildcards)
    return [(setup, draw, study["setups"][setup]["layers"]) for setup, draw in setup_runs(study)]


def of_adapters(file):
    """An input function: a file of every run that trains an adapter, in their order."""

    def files(wildcards):
        return [
            f"results/{wildcards.study}/{wildcards.model}/{setup}/{draw}/{file}"
            for setup, draw, layers in told_runs(wildcards)
            if layers != "none"
        ]

    return files


def metrics_of_models(wildcards):
    """Every model's metrics, shard by shard."""
    return [
        f"results/{wildcards.study}/{model}/metrics/{shard}.parquet"
        for model in models_of(wildcards)
        for shard in shards("evaluation")(wildcards)
    ]


def kept_features(wildcards):
    """What tells that a model's image features are kept, if they are to be."""
    if study_of(wildcards)["shortcuts"]["kept_features"]:
        return "results/{study}/{model}/features.json"
    return []


def training_shortcuts(wildcards):
    told = study_of(wildcards)["shortcuts"]
    return {name: told[name] for name in ("few_logits", "frozen_layers")}


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

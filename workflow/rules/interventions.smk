# Interventions: what a model says once chosen heads read nothing of the image.


rule interventions:
    input:
        unpack(ask("image_files")),
        unpack(ask("intervention_inputs")),
        samples=rules.samples.output.samples,
        objects=rules.samples.output.objects,
        checkpoint=answering(model_to_run),
    output:
        rows="results/{study}/{model}/interventions/{design}.{shard}.parquet",
    log:
        "results/{study}/logs/{model}.interventions.{design}.{shard}.log",
    benchmark:
        "results/{study}/benchmarks/{model}.interventions.{design}.{shard}.tsv"
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=16000,
        runtime=240,
        gpu=gpus(),
    params:
        folder=ask("images_folder"),
        model=ask("checkpoint_to_run"),
        shards=setting("interventions", "shards"),
        settings=ask("intervention_settings"),
        item_draw=ask("intervention_items"),
        head_sets=ask("intervention_heads"),
        code=code("interventions", model_family),
    script:
        "../scripts/interventions.py"


rule attribution_checks:
    input:
        interventions=ask("attribution_inputs"),
        objects=rules.samples.output.objects,
    output:
        table=report(
            "results/{study}/attribution_checks.csv",
            caption="../report/attribution_checks.rst",
            category="{study}",
            labels={"item": "How good attribution is"},
        ),
    log:
        "results/{study}/logs/attribution_checks.log",
    benchmark:
        "results/{study}/benchmarks/attribution_checks.tsv"
    localrule: True
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        titles=setting("titles"),
        outcomes=setting("interventions", "outcomes"),
        code=code("attribution_checks"),
    script:
        "../scripts/attribution_checks.py"

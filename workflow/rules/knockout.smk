# Attention knockout: what a model says once a window of layers reads part of the image no longer.


rule knockouts:
    input:
        unpack(ask("image_files")),
        unpack(ask("knockout_inputs")),
        samples=rules.samples.output.samples,
        objects=rules.samples.output.objects,
        checkpoint=answering(model_to_run),
    output:
        rows="results/{study}/{model}/knockouts/{shard}.parquet",
    log:
        "results/{study}/logs/{model}.knockouts.{shard}.log",
    benchmark:
        "results/{study}/benchmarks/{model}.knockouts.{shard}.tsv"
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
        shards=setting("knockout", "shards"),
        draw=ask("knockout_draw"),
        settings=ask("knockout_settings"),
        code=code("knockouts", model_family),
    script:
        "../scripts/knockouts.py"


rule figure8:
    input:
        knockouts=ask("knockouts_of", models=None),
        objects=rules.samples.output.objects,
    output:
        svg=report(
            "results/{study}/figure8.svg",
            caption="../report/figure8.rst",
            category="{study}",
            labels={"item": "Figure 8: knockout by layer"},
        ),
        png="results/{study}/figure8.png",
        table=report(
            "results/{study}/knockout.csv",
            caption="../report/knockout.rst",
            category="{study}",
            labels={"item": "Figure 8: its numbers"},
        ),
    log:
        "results/{study}/logs/figure8.log",
    benchmark:
        "results/{study}/benchmarks/figure8.tsv"
    localrule: True
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        titles=setting("titles"),
        code=code("figure8"),
    script:
        "../scripts/figure8.py"

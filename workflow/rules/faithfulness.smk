# Faithfulness and completeness: what a model says when only the first heads of an order read the
# image, and when only these do not. Made for a study when you ask for them.


rule curves:
    input:
        unpack(ask("image_files")),
        scores=ask("head_scores_of"),
        samples=rules.samples.output.samples,
        objects=rules.samples.output.objects,
        questions=rules.questions.output.questions,
        checkpoint=answering(model_to_run),
    output:
        rows="results/{study}/{model}/curves/{shard}.parquet",
    log:
        "results/{study}/logs/{model}.curves.{shard}.log",
    benchmark:
        "results/{study}/benchmarks/{model}.curves.{shard}.tsv"
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
        shards=setting("faithfulness", "shards"),
        settings=ask("curve_settings"),
        orders=ask("order_settings"),
        code=code("curves", model_family),
    script:
        "../scripts/curves.py"


rule faithfulness:
    input:
        rows=ask("curves_of_models"),
        scores=ask("head_scores_by_model"),
    output:
        curves=report(
            "results/{study}/faithfulness.csv",
            caption="../report/faithfulness.rst",
            category="{study}",
            labels={"item": "Figure 7: its numbers"},
        ),
        areas=report(
            "results/{study}/faithfulness_areas.csv",
            caption="../report/faithfulness_areas.rst",
            category="{study}",
            labels={"item": "Figure 7: its areas"},
        ),
    log:
        "results/{study}/logs/faithfulness.log",
    benchmark:
        "results/{study}/benchmarks/faithfulness.tsv"
    localrule: True
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=20,
    params:
        titles=setting("titles"),
        outcomes=setting("faithfulness", "outcomes"),
        orders=ask("order_settings"),
        code=code("faithfulness"),
    script:
        "../scripts/faithfulness.py"


rule figure7:
    input:
        curves=rules.faithfulness.output.curves,
    output:
        svg=report(
            "results/{study}/figure7.svg",
            caption="../report/figure7.rst",
            category="{study}",
            labels={"item": "Figure 7: faithfulness and completeness"},
        ),
        png="results/{study}/figure7.png",
    log:
        "results/{study}/logs/figure7.log",
    benchmark:
        "results/{study}/benchmarks/figure7.tsv"
    localrule: True
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        code=code("figure7"),
    script:
        "../scripts/figure7.py"

# The paper's figures 2, 4 and 5, and Figure 6, for each study, and the default study's under short
# names.


rule figure2:
    input:
        unpack(ask("image_files")),
        samples=rules.samples.output.samples,
        objects=rules.samples.output.objects,
        tokens=ask("first_tokens"),
        checkpoint=ask("fetched_first_model"),
    output:
        svg=report(
            "results/{study}/figure2.svg",
            caption="../report/figure2.rst",
            category="{study}",
            labels={"item": "Figure 2"},
        ),
        png="results/{study}/figure2.png",
    log:
        "results/{study}/logs/figure2.log",
    benchmark:
        "results/{study}/benchmarks/figure2.tsv"
    localrule: True
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=5,
    params:
        folder=ask("images_folder"),
        model=ask("first_checkpoint"),
        title=setting("first_model", "title"),
        mask_share=setting("mask_share"),
        code=code("figure2", first_model_family),
    script:
        "../scripts/figure2.py"


rule figure:
    input:
        scores=ask("scores_of_models", score=None),
        nulls=ask("nulls_of_models", kind="parquet"),
    output:
        svg=report(
            "results/{study}/figure{number}.svg",
            caption="../report/head_impact.rst",
            category="{study}",
            labels={"item": "Figure {number}"},
        ),
        png="results/{study}/figure{number}.png",
    log:
        "results/{study}/logs/figure{number}.log",
    benchmark:
        "results/{study}/benchmarks/figure{number}.tsv"
    wildcard_constraints:
        number="4|5",
    localrule: True
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        titles=setting("titles"),
        name=ask("score_title", score=None),
        code=code("figure"),
    script:
        "../scripts/figure.py"


rule score_figure:
    input:
        scores=ask("scores_of_models"),
    output:
        svg=report(
            "results/{study}/figure_{score}.svg",
            caption="../report/score_figure.rst",
            category="{study}",
            labels={"item": "Figure of {score}"},
        ),
        png="results/{study}/figure_{score}.png",
    log:
        "results/{study}/logs/figure_{score}.log",
    benchmark:
        "results/{study}/benchmarks/figure_{score}.tsv"
    localrule: True
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        titles=setting("titles"),
        name=ask("score_title"),
        code=code("score_figure"),
    script:
        "../scripts/score_figure.py"


rule figure6:
    input:
        answers=ask("answers_of_runs"),
        questions=rules.questions.output.questions,
        layers=ask("layers_of_draws"),
    output:
        svg=report(
            "results/{study}/figure6.svg",
            caption="../report/figure6.rst",
            category="{study}",
            labels={"item": "Figure 6: learned and forgotten"},
        ),
        png="results/{study}/figure6.png",
        table=report(
            "results/{study}/forgetting.csv",
            caption="../report/forgetting.rst",
            category="{study}",
            labels={"item": "Figure 6: its numbers"},
        ),
    log:
        "results/{study}/logs/figure6.log",
    benchmark:
        "results/{study}/benchmarks/figure6.tsv"
    localrule: True
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        titles=setting("titles"),
        runs=ask("runs"),
        trainings=ask("trainings"),
        draws=ask("draws"),
        metrics=ask("metrics"),
        learned=ask("learned_metric"),
        code=code("figure6", metric_entries),
    script:
        "../scripts/figure6.py"


rule default_figure:
    input:
        f"results/{CONFIG.default_study}/figure{{name}}.{{kind}}",
    output:
        "results/figure{name}.{kind}",
    log:
        "results/logs/figure{name}.{kind}.log",
    wildcard_constraints:
        name=r"\d|_[A-Za-z0-9_-]+",
        kind="svg|png",
    localrule: True
    conda:
        "../../envs/headimpact.yaml"
    shell:
        "cp {input:q} {output:q} 2> {log:q}"

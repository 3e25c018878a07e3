# The paper's figures 2, 4 and 5, for each study, and the default study's under short names.


rule figure2:
    input:
        unpack(annotation_files),
        samples=rules.samples.output.samples,
        objects=rules.samples.output.objects,
        tokens=first_tokens,
        checkpoint=fetched_first_model,
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
        root=dataset_root,
        model=first_checkpoint,
        title=lambda wildcards: titles_of(wildcards)[0],
        mask_share=part("impact", "mask_share"),
        code=meaning("figure2"),
    script:
        "../scripts/figure2.py"


rule figure:
    input:
        scores=of_models("head_scores.parquet"),
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
        titles=titles_of,
        code=meaning("figure"),
    script:
        "../scripts/figure.py"


rule default_figure:
    input:
        f"results/{config['default_study']}/figure{{number}}.{{kind}}",
    output:
        "results/figure{number}.{kind}",
    log:
        "results/logs/figure{number}.{kind}.log",
    wildcard_constraints:
        kind="svg|png",
    localrule: True
    conda:
        "../../envs/headimpact.yaml"
    shell:
        "cp {input:q} {output:q} 2> {log:q}"

# Each key object's coverage on each model's own token grid; no weights are read.


rule tokens:
    input:
        samples=rules.samples.output.samples,
        objects=rules.samples.output.objects,
        checkpoint=fetched_model,
    output:
        tokens="results/{study}/{model}/tokens.parquet",
    log:
        "results/{study}/logs/{model}.tokens.log",
    benchmark:
        "results/{study}/benchmarks/{model}.tokens.tsv"
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        model=checkpoint_of,
        code=meaning("tokens"),
    script:
        "../scripts/tokens.py"

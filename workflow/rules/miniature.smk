# Trains the three miniature checkpoints from the start, into results/; an hour and a half on two cores.
# Copy results/miniatures/{name}/checkpoint over resources/miniature/{name} to ship one.


rule miniatures:
    input:
        expand("results/miniatures/{name}/checkpoint", name=("paligemma2", "qwen2_vl", "idefics3")),


rule miniature:
    output:
        checkpoint=directory("results/miniatures/{name}/checkpoint"),
    log:
        "results/miniatures/logs/{name}.log",
    benchmark:
        "results/miniatures/benchmarks/{name}.tsv"
    wildcard_constraints:
        name=r"\w+",
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        seed=0,
        code=script_version("miniature"),
    script:
        "../scripts/miniature.py"

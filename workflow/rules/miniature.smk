# Trains the miniature checkpoints from the start, into results/.
# Copy results/miniatures/{name}/checkpoint over resources/miniature/{name} to ship one.

MINIATURES = ("paligemma2", "qwen2_vl", "idefics3")
KNOWN_ANSWERS = ("spread", "late")


rule miniatures:
    input:
        expand("results/miniatures/{name}/checkpoint", name=MINIATURES),
        expand("results/miniatures/qwen2_vl_{answer}/checkpoint", answer=KNOWN_ANSWERS),


rule miniature:
    output:
        checkpoint=directory("results/miniatures/{name}/checkpoint"),
    log:
        "results/miniatures/logs/{name}.log",
    benchmark:
        "results/miniatures/benchmarks/{name}.tsv"
    wildcard_constraints:
        name="|".join(MINIATURES),
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


# a miniature in which only chosen heads can carry what the image says
rule known_answer_miniature:
    input:
        base="results/miniatures/qwen2_vl/checkpoint",
    output:
        checkpoint=directory("results/miniatures/qwen2_vl_{answer}/checkpoint"),
    log:
        "results/miniatures/logs/qwen2_vl_{answer}.log",
    benchmark:
        "results/miniatures/benchmarks/qwen2_vl_{answer}.tsv"
    wildcard_constraints:
        answer="|".join(KNOWN_ANSWERS),
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=240,
    params:
        seed=0,
        code=script_version("known_answer_miniature"),
    script:
        "../scripts/known_answer_miniature.py"

# All that comes over the network; the login node of a cluster runs these, its others need none.


rule fetch:
    input:
        lambda wildcards: [path for name in CONFIG.studies for path in files_to_fetch(name)],


for study in CONFIG.studies:

    rule:
        name:
            f"fetch_{study}"
        input:
            lambda wildcards, study=study: files_to_fetch(study),


rule coco:
    input:
        table=ancient("resources/downloads.csv"),  # photographs that are there stay
    output:
        images=directory(f"{DATA}/coco/val2017"),
        captions=f"{DATA}/coco/annotations/captions_val2017.json",
        instances=f"{DATA}/coco/annotations/instances_val2017.json",
    log:
        "results/logs/fetch/coco.log",
    localrule: True
    conda:
        "../../envs/headimpact.yaml"
    script:
        "../scripts/coco.py"


rule release:
    output:
        release=directory(f"{DATA}/release/{{commit}}"),
    log:
        "results/logs/fetch/release.{commit}.log",
    wildcard_constraints:
        commit="[0-9a-f]{40}",
    localrule: True
    conda:
        "../../envs/headimpact.yaml"
    params:
        commit="{commit}",
    script:
        "../scripts/release.py"


rule checkpoint:
    output:
        record=f"{DATA}/checkpoints/{{organisation}}/{{name}}@{{revision}}.json",
    log:
        "results/logs/fetch/{organisation}/{name}@{revision}.log",
    priority: 100
    localrule: True
    conda:
        "../../envs/headimpact.yaml"
    script:
        "../scripts/checkpoint.py"

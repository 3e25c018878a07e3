# The study's images: drawn scenes or a folder in COCO's layout, and the draw from them.


rule scenes:
    output:
        dataset=directory("results/{study}/dataset"),
    log:
        "results/{study}/logs/scenes.log",
    benchmark:
        "results/{study}/benchmarks/scenes.tsv"
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=10,
    params:
        dataset=part("dataset"),
        code=fingerprint("dataset.scenes"),
    script:
        "../scripts/scenes.py"


rule images:
    input:
        unpack(annotation_files),
    output:
        images="results/{study}/images.parquet",
    log:
        "results/{study}/logs/images.log",
    benchmark:
        "results/{study}/benchmarks/images.tsv"
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        root=dataset_root,
        wanted=part("sampling", "images"),
        spare=part("sampling", "spare"),
        seed=part("sampling", "seed"),
        code=fingerprint("dataset.coco", "dataset.samples", "artifacts"),
    script:
        "../scripts/images.py"

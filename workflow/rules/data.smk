# The study's images: drawn scenes, a folder in COCO's layout, or a folder and a CSV of captions;
# and the draw from them.


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
        code=meaning("scenes"),
    script:
        "../scripts/scenes.py"


rule captions:
    input:
        table=part("dataset", "captions"),
    output:
        captions="results/{study}/dataset/annotations/captions_images.json",
    log:
        "results/{study}/logs/captions.log",
    benchmark:
        "results/{study}/benchmarks/captions.tsv"
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=30,
    params:
        images=part("dataset", "root"),
        code=meaning("captions"),
    script:
        "../scripts/captions.py"


rule images:
    input:
        unpack(annotation_files),
        release=release_folder,
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
        annotators=annotators_of,
        sampling=drawn_by,
        code=meaning("images"),
    script:
        "../scripts/images.py"

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
        dataset=setting("dataset"),
        code=code("scenes"),
    script:
        "../scripts/scenes.py"


rule captions:
    input:
        table=setting("dataset", "captions"),
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
        images=setting("dataset", "root"),
        code=code("captions"),
    script:
        "../scripts/captions.py"


rule images:
    input:
        unpack(ask("caption_files")),
        release=ask("release_folder"),
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
        folder=ask("images_folder"),
        annotators=setting("annotator", "of_splits"),
        images=setting("sampling", "images"),
        spare=setting("sampling", "spare"),
        seed=setting("sampling", "seed"),
        proportions=setting("sampling", "proportions"),
        code=code("images"),
    script:
        "../scripts/images.py"


rule instances:
    input:
        unpack(ask("annotation_files", kind="instances")),
        images=rules.images.output.images,
    output:
        instances="results/{study}/instances.parquet",
    log:
        "results/{study}/logs/instances.log",
    benchmark:
        "results/{study}/benchmarks/instances.tsv"
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=30,
    params:
        folder=ask("images_folder"),
        code=code("instances"),
    script:
        "../scripts/instances.py"

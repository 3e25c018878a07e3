# Key objects: found by an annotator, shard by shard, then filtered and split into samples.


rule annotate_instances:
    input:
        unpack(annotation_files),
        images=rules.images.output.images,
    output:
        annotations="results/{study}/annotations/instances.{shard}.parquet",
        dropped="results/{study}/annotations/instances.{shard}.dropped.parquet",
    log:
        "results/{study}/logs/annotate_instances.{shard}.log",
    benchmark:
        "results/{study}/benchmarks/annotate_instances.{shard}.tsv"
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        root=dataset_root,
        shards=part("annotator", "shards"),
        description=part("annotator", "description"),
        code=meaning("annotate_instances"),
    script:
        "../scripts/annotate_instances.py"


rule annotate_florence2_sam2:
    input:
        unpack(annotation_files),
        images=rules.images.output.images,
        grounder=fetched_annotator("grounder"),
        segmenter=fetched_annotator("segmenter"),
    output:
        annotations="results/{study}/annotations/florence2_sam2.{shard}.parquet",
        dropped="results/{study}/annotations/florence2_sam2.{shard}.dropped.parquet",
    log:
        "results/{study}/logs/annotate_florence2_sam2.{shard}.log",
    benchmark:
        "results/{study}/benchmarks/annotate_florence2_sam2.{shard}.tsv"
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=16000,
        runtime=240,
        gpu=gpus,
    params:
        root=dataset_root,
        shards=part("annotator", "shards"),
        grounder=annotator_checkpoint("grounder"),
        segmenter=annotator_checkpoint("segmenter"),
        code=meaning("annotate_florence2_sam2"),
    script:
        "../scripts/annotate_florence2_sam2.py"


rule annotate_release:
    input:
        unpack(annotation_files),
        images=rules.images.output.images,
        release=release_folder,
    output:
        annotations="results/{study}/annotations/release.{shard}.parquet",
        dropped="results/{study}/annotations/release.{shard}.dropped.parquet",
    log:
        "results/{study}/logs/annotate_release.{shard}.log",
    benchmark:
        "results/{study}/benchmarks/annotate_release.{shard}.tsv"
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        root=dataset_root,
        shards=part("annotator", "shards"),
        commit=release_commit,
        code=meaning("annotate_release"),
    script:
        "../scripts/annotate_release.py"


rule samples:
    input:
        images=rules.images.output.images,
        annotations=annotated(".parquet"),
        dropped=annotated(".dropped.parquet"),
    output:
        samples="results/{study}/samples.parquet",
        objects="results/{study}/objects.parquet",
        dropped="results/{study}/dropped.parquet",
        counts=report(
            "results/{study}/annotation_counts.csv",
            caption="../report/annotation_counts.rst",
            category="{study}",
            labels={"item": "Annotation"},
        ),
    log:
        "results/{study}/logs/samples.log",
    benchmark:
        "results/{study}/benchmarks/samples.tsv"
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=10,
    params:
        sampling=part("sampling"),
        annotators=annotators_of,
        min_confidence=part("annotator", "min_confidence"),
        code=meaning("samples"),
    script:
        "../scripts/samples.py"


rule release_layout:
    input:
        images=rules.images.output.images,
        annotations=annotated(".parquet"),
    output:
        folder=directory("results/{study}/release"),
    log:
        "results/{study}/logs/release_layout.log",
    benchmark:
        "results/{study}/benchmarks/release_layout.tsv"
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=30,
    params:
        url=image_url,
        code=meaning("release_layout"),
    script:
        "../scripts/release_layout.py"

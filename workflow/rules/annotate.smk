# Key objects: found by the annotator, shard by shard, then filtered and split into samples.


rule annotate:
    input:
        unpack(annotation_files),
        images=rules.images.output.images,
    output:
        annotations="results/{study}/annotations/{shard}.parquet",
        dropped="results/{study}/annotations/{shard}.dropped.parquet",
    log:
        "results/{study}/logs/annotate.{shard}.log",
    benchmark:
        "results/{study}/benchmarks/annotate.{shard}.tsv"
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        root=dataset_root,
        description=part("annotator", "description"),
        shards=part("annotator", "shards"),
        code=fingerprint("annotate.instances", "artifacts"),
    script:
        "../scripts/annotate.py"


rule samples:
    input:
        images=rules.images.output.images,
        annotations=expand(
            rules.annotate.output.annotations, shard=shards("annotator"), allow_missing=True
        ),
        dropped=expand(rules.annotate.output.dropped, shard=shards("annotator"), allow_missing=True),
    output:
        samples="results/{study}/samples.parquet",
        objects="results/{study}/objects.parquet",
        dropped="results/{study}/dropped.parquet",
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
        min_confidence=part("annotator", "min_confidence"),
        code=fingerprint("dataset.samples", "artifacts"),
    script:
        "../scripts/samples.py"

# Key objects: found by an annotator, shard by shard, then filtered and split into samples.


rule annotate:
    input:
        unpack(ask("image_files")),
        unpack(ask("annotator_inputs")),
        images=rules.images.output.images,
    output:
        annotations="results/{study}/annotations/{annotator}.{shard}.parquet",
        dropped="results/{study}/annotations/{annotator}.{shard}.dropped.parquet",
    log:
        "results/{study}/logs/annotate.{annotator}.{shard}.log",
    benchmark:
        "results/{study}/benchmarks/annotate.{annotator}.{shard}.tsv"
    # an annotator that runs no model shares a job with what follows, where the profile groups jobs
    group:
        ask("annotator_group")
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=16000,
        runtime=240,
        gpu=gpus("annotator_runs_model"),
    params:
        folder=ask("images_folder"),
        shards=setting("annotator", "shards"),
        options=ask("annotator_options"),
        code=code("annotate", annotator_entry),
    script:
        "../scripts/annotate.py"


rule samples:
    input:
        images=rules.images.output.images,
        annotations=ask("annotated", suffix=".parquet"),
        dropped=ask("annotated", suffix=".dropped.parquet"),
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
        sampling=setting("sampling"),
        annotators=setting("annotator", "of_splits"),
        min_confidence=setting("annotator", "min_confidence"),
        code=code("samples"),
    script:
        "../scripts/samples.py"


rule questions:
    input:
        samples=rules.samples.output.samples,
        objects=rules.samples.output.objects,
        annotations=ask("annotated", suffix=".parquet"),
    output:
        questions="results/{study}/questions.parquet",
    log:
        "results/{study}/logs/questions.log",
    benchmark:
        "results/{study}/benchmarks/questions.tsv"
    # too few descriptions are known before an hour is spent on a model
    priority: 100
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=10,
    params:
        split="test",
        wrong_options=setting("questions", "wrong_options"),
        seed=setting("questions", "seed"),
        code=code("questions"),
    script:
        "../scripts/questions.py"


# the same about the objects whose image reads are taken away
use rule questions as impact_questions with:
    output:
        questions="results/{study}/impact_questions.parquet",
    log:
        "results/{study}/logs/impact_questions.log",
    benchmark:
        "results/{study}/benchmarks/impact_questions.tsv"
    params:
        split="impact",
        wrong_options=setting("questions", "wrong_options"),
        seed=setting("questions", "seed"),
        code=code("questions"),


rule release_layout:
    input:
        images=rules.images.output.images,
        annotations=ask("annotated", suffix=".parquet"),
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
        url=ask("image_url"),
        code=code("release_layout"),
    script:
        "../scripts/release_layout.py"

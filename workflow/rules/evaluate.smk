# The test split under every setup of a model: perplexity, accuracy, answer probability.


rule evaluate:
    input:
        unpack(annotation_files),
        samples=rules.samples.output.samples,
        objects=rules.samples.output.objects,
        checkpoint=fetched_model,
        annotations=annotated(".parquet"),
        adapters=of_adapters("adapter"),
        histories=of_adapters("history.json"),
    output:
        metrics="results/{study}/{model}/metrics/{shard}.parquet",
    log:
        "results/{study}/logs/{model}.evaluate.{shard}.log",
    benchmark:
        "results/{study}/benchmarks/{model}.evaluate.{shard}.tsv"
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=16000,
        runtime=240,
        gpu=gpus,
    params:
        root=dataset_root,
        model=checkpoint_of,
        shards=part("evaluation", "shards"),
        runs=told_runs,
        seed=part("evaluation", "seed"),
        one_pass=part("shortcuts", "one_pass"),
        code=meaning("evaluate"),
    script:
        "../scripts/evaluate.py"

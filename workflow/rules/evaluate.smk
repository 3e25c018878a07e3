# The test split: perplexity, accuracy and answer probability, item by item.


rule evaluate:
    input:
        unpack(annotation_files),
        samples=rules.samples.output.samples,
        objects=rules.samples.output.objects,
        checkpoint=fetched_model,
        annotations=annotated(".parquet"),
        adapter=adapter_if_any,
    output:
        metrics="results/{study}/{model}/{setup}/{draw}/metrics.parquet",
    log:
        "results/{study}/logs/{model}.evaluate.{setup}.{draw}.log",
    benchmark:
        "results/{study}/benchmarks/{model}.evaluate.{setup}.{draw}.tsv"
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=16000,
        runtime=120,
        gpu=gpus,
    params:
        root=dataset_root,
        model=checkpoint_of,
        seed=part("evaluation", "seed"),
        code=fingerprint("evaluate", "models.load", "artifacts"),
    script:
        "../scripts/evaluate.py"

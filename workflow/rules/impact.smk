# Where each attention head looks, shard by shard, and Head Impact from it without the model.


rule attention:
    input:
        unpack(annotation_files),
        samples=rules.samples.output.samples,
        objects=rules.samples.output.objects,
        checkpoint=fetched_model,
    output:
        attended="results/{study}/{model}/attended/{shard}.parquet",
    log:
        "results/{study}/logs/{model}.attention.{shard}.log",
    benchmark:
        "results/{study}/benchmarks/{model}.attention.{shard}.tsv"
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
        shards=part("impact", "shards"),
        one_pass=part("shortcuts", "one_pass"),
        code=meaning("attention"),
    script:
        "../scripts/attention.py"


rule impact:
    input:
        samples=rules.samples.output.samples,
        objects=rules.samples.output.objects,
        tokens=rules.tokens.output.tokens,
        attended=expand(rules.attention.output.attended, shard=shards("impact"), allow_missing=True),
    output:
        impact="results/{study}/{model}/impact.parquet",
        scores="results/{study}/{model}/head_scores.parquet",
        unseen="results/{study}/{model}/unseen.csv",
    log:
        "results/{study}/logs/{model}.impact.log",
    benchmark:
        "results/{study}/benchmarks/{model}.impact.tsv"
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=20,
    params:
        mask_share=part("impact", "mask_share"),
        average_over=part("impact", "average_over"),
        code=meaning("impact"),
    script:
        "../scripts/impact.py"

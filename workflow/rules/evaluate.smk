# What the model of each run says of the test split; metrics are computed from it without a model.


rule evaluate:
    input:
        unpack(ask("image_files")),
        unpack(ask("adapter_files")),
        samples=rules.samples.output.samples,
        objects=rules.samples.output.objects,
        questions=rules.questions.output.questions,
        checkpoint=answering(model_to_run),
        features=ask("features_record"),
    output:
        answers="results/{study}/{model}/{setup}/{variant}/{draw}/answers.parquet",
    log:
        "results/{study}/logs/{model}.evaluate.{setup}.{variant}.{draw}.log",
    benchmark:
        "results/{study}/benchmarks/{model}.evaluate.{setup}.{variant}.{draw}.tsv"
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=16000,
        runtime=240,
        gpu=gpus(),
    params:
        folder=ask("images_folder"),
        model=ask("checkpoint_to_run"),
        one_pass=setting("shortcuts", "one_pass"),
        code=code("evaluate", model_family),
    script:
        "../scripts/evaluate.py"

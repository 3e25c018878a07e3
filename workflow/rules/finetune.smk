# Fine-tuning the layers of each setup, on the image features that the frozen vision tower computes.


rule features:
    input:
        unpack(ask("image_files")),
        samples=rules.samples.output.samples,
        checkpoint=answering(model_to_run),
    output:
        # The features lie beside it, in features/, which may be deleted at any time. They are no
        # output: Snakemake runs every training again when a missing output is made again.
        record="results/{study}/{model}/features.json",
    log:
        "results/{study}/logs/{model}.features.log",
    benchmark:
        "results/{study}/benchmarks/{model}.features.tsv"
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=16000,
        runtime=120,
        gpu=gpus(),
    params:
        folder=ask("images_folder"),
        model=ask("checkpoint_to_run"),
        code=code("features", model_family),
    script:
        "../scripts/features.py"


rule finetune:
    input:
        unpack(ask("image_files")),
        samples=rules.samples.output.samples,
        objects=rules.samples.output.objects,
        checkpoint=answering(model_to_run),
        features=ask("features_record"),
        layers=rules.layers.output.layers,
    output:
        adapter=directory("results/{study}/{model}/{setup}/{variant}/{draw}/adapter"),
        history="results/{study}/{model}/{setup}/{variant}/{draw}/history.json",
    log:
        "results/{study}/logs/{model}.finetune.{setup}.{variant}.{draw}.log",
    benchmark:
        "results/{study}/benchmarks/{model}.finetune.{setup}.{variant}.{draw}.tsv"
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=24000,
        runtime=480,
        gpu=gpus(),
    params:
        folder=ask("images_folder"),
        model=ask("checkpoint_to_run"),
        method=ask("method"),
        training=ask("training"),
        few_logits=setting("shortcuts", "few_logits"),
        frozen_layers=setting("shortcuts", "frozen_layers"),
        code=code("finetune", model_family, method_entry),
    script:
        "../scripts/finetune.py"

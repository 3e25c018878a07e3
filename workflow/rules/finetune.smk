# LoRA on the layers of each setup, on what the frozen vision tower makes of each image once.


rule features:
    input:
        unpack(annotation_files),
        samples=rules.samples.output.samples,
        checkpoint=fetched_model,
    output:
        # the features lie beside it, in features/, until the model's setups are evaluated. They are
        # no output: Snakemake would train all setups again whenever a new one has them made again
        kept="results/{study}/{model}/features.json",
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
        gpu=gpus,
    params:
        root=dataset_root,
        model=checkpoint_of,
        code=meaning("features"),
    script:
        "../scripts/features.py"


rule finetune:
    input:
        unpack(annotation_files),
        samples=rules.samples.output.samples,
        objects=rules.samples.output.objects,
        checkpoint=fetched_model,
        features=kept_features,
        scores=scores_if_needed,
    output:
        adapter=directory("results/{study}/{model}/{setup}/{draw}/adapter"),
        history="results/{study}/{model}/{setup}/{draw}/history.json",
    log:
        "results/{study}/logs/{model}.finetune.{setup}.{draw}.log",
    benchmark:
        "results/{study}/benchmarks/{model}.finetune.{setup}.{draw}.tsv"
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=24000,
        runtime=480,
        gpu=gpus,
    params:
        root=dataset_root,
        model=checkpoint_of,
        setup=layers_of_setup,
        layer_seed=layer_seed_of_setup,
        lora=part("lora"),
        shortcuts=training_shortcuts,
        training=lambda wildcards: training_of(study_of(wildcards), wildcards.setup),
        code=meaning("finetune"),
    script:
        "../scripts/finetune.py"

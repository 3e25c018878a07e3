# LoRA on the layers of each setup.


rule finetune:
    input:
        unpack(annotation_files),
        samples=rules.samples.output.samples,
        objects=rules.samples.output.objects,
        checkpoint=fetched_model,
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
        layer_seed=part("layer_seed"),
        lora=part("lora"),
        training=lambda wildcards: training_of(study_of(wildcards), wildcards.setup),
        code=fingerprint("finetune", "layers", "models.load", "artifacts"),
    script:
        "../scripts/finetune.py"

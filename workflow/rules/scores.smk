# Head scores: where each attention head looks, a number a head from it, and the layers that follow.


rule tokens:
    input:
        samples=rules.samples.output.samples,
        objects=rules.samples.output.objects,
        checkpoint=ask("fetched_model"),
    output:
        tokens="results/{study}/{model}/tokens.parquet",
    log:
        "results/{study}/logs/{model}.tokens.log",
    benchmark:
        "results/{study}/benchmarks/{model}.tokens.tsv"
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        model=ask("checkpoint_files"),
        code=code("tokens", model_family),
    script:
        "../scripts/tokens.py"


# apart from `tokens`, since only nulls need it: Table 4 does not wait for it, nor depend on `nulls`
rule shifted_tokens:
    input:
        samples=rules.samples.output.samples,
        objects=rules.samples.output.objects,
        checkpoint=ask("fetched_model"),
    output:
        shifted="results/{study}/{model}/shifted_tokens.parquet",
    log:
        "results/{study}/logs/{model}.shifted_tokens.log",
    benchmark:
        "results/{study}/benchmarks/{model}.shifted_tokens.tsv"
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=60,
    params:
        model=ask("checkpoint_files"),
        shifts=setting("nulls", "shifts"),
        seed=setting("nulls", "seed"),
        code=code("shifted_tokens", model_family),
    script:
        "../scripts/shifted_tokens.py"


rule attention:
    input:
        unpack(ask("image_files")),
        samples=rules.samples.output.samples,
        objects=rules.samples.output.objects,
        checkpoint=answering(model_to_run),
    output:
        attention="results/{study}/{model}/attention/{shard}.parquet",
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
        gpu=gpus(),
    params:
        folder=ask("images_folder"),
        model=ask("checkpoint_to_run"),
        shards=setting("attention", "shards"),
        one_pass=setting("shortcuts", "one_pass"),
        code=code("attention", model_family),
    script:
        "../scripts/attention.py"


# the same of a model with random weights, a null of Head Impact
use rule attention as untrained_attention with:
    output:
        attention="results/{study}/{model}/untrained/{shard}.parquet",
    log:
        "results/{study}/logs/{model}.untrained_attention.{shard}.log",
    benchmark:
        "results/{study}/benchmarks/{model}.untrained_attention.{shard}.tsv"
    params:
        folder=ask("images_folder"),
        model=ask("untrained_checkpoint"),
        shards=setting("attention", "shards"),
        one_pass=setting("shortcuts", "one_pass"),
        code=code("attention", model_family),


rule score:
    input:
        unpack(ask("score_inputs")),
        samples=rules.samples.output.samples,
        objects=rules.samples.output.objects,
    output:
        score="results/{study}/{model}/scores/{score}.parquet",
    log:
        "results/{study}/logs/{model}.score.{score}.log",
    benchmark:
        "results/{study}/benchmarks/{model}.score.{score}.tsv"
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=16000,  # a score may run the model, as rule attention does
        runtime=240,
        gpu=gpus("score_runs_model"),
    params:
        folder=ask("images_folder"),
        score=ask("score_settings"),
        model=ask("score_checkpoint"),
        code=code("score", score_entry, score_family),
    script:
        "../scripts/score.py"


rule nulls:
    input:
        unpack(ask("score_inputs")),
        unpack(ask("null_inputs")),
        samples=rules.samples.output.samples,
        objects=rules.samples.output.objects,
    output:
        heads="results/{study}/{model}/nulls/{score}.parquet",
        means="results/{study}/{model}/nulls/{score}.csv",
    log:
        "results/{study}/logs/{model}.nulls.{score}.log",
    benchmark:
        "results/{study}/benchmarks/{model}.nulls.{score}.tsv"
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=60,
    params:
        score=ask("score_settings"),
        code=code("nulls", null_entry),
    script:
        "../scripts/nulls.py"


rule layers:
    input:
        score=ask("layer_scores"),
        target=ask("target_layers"),
        checkpoint=ask("fetched_model"),
    output:
        layers="results/{study}/{model}/{setup}/{draw}/layers.json",
    log:
        "results/{study}/logs/{model}.layers.{setup}.{draw}.log",
    benchmark:
        "results/{study}/benchmarks/{model}.layers.{setup}.{draw}.tsv"
    localrule: True
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=5,
    params:
        model=ask("checkpoint_files"),
        layers=ask("layer_choice"),
        code=code("layers", layer_choice_entry),
    script:
        "../scripts/layers.py"

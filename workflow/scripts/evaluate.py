import shutil
from pathlib import Path

from job import job

from headimpact import artifacts
from headimpact.dataset.coco import CocoFolder
from headimpact.dataset.unchanged import check_unchanged
from headimpact.evaluation.evaluate import evaluate, questions
from headimpact.models.load import load
from headimpact.models.locate import locate
from headimpact.training.lora import check_adapter, load_adapter

with job(snakemake):
    params = snakemake.params
    samples = artifacts.read(snakemake.input.samples, "samples").query("split == 'test'")
    dataset = artifacts.read(snakemake.input.objects, "objects")
    objects = dataset[dataset["sample_id"].isin(samples["sample_id"])]
    annotations = artifacts.read_all(snakemake.input.annotations, "annotations")
    asked = questions(samples, objects, annotations, dataset["description"], params.seed)
    # the questions are drawn over all of the split, whatever a shard holds of it
    samples = samples.iloc[int(snakemake.wildcards.shard) :: params.shards]
    images = CocoFolder(**params.root)
    check_unchanged(images, samples)
    mine = objects["sample_id"].isin(samples["sample_id"])
    trained = iter(snakemake.input.adapters)
    runs = {
        (setup, draw): None if layers == "none" else next(trained)
        for setup, draw, layers in params.runs
    }
    for folder, history in zip(snakemake.input.adapters, snakemake.input.histories, strict=True):
        check_adapter(folder, history)
    folder, identity = locate(params.model, snakemake.input.get("checkpoint"))
    model, family = load(folder, identity)
    items = objects[mine], [question for question, here in zip(asked, mine, strict=True) if here]

    def evaluate_runs():
        for (setup, draw), adapter in runs.items():
            adapted = load_adapter(model, adapter) if adapter else None
            for rows in evaluate(model, family, images, samples, *items, params.one_pass):
                yield [{"setup": setup, "draw": draw, **row} for row in rows]
            if adapted:
                adapted.unload()

    record = {**dict(snakemake.wildcards.items()), "checkpoint": identity}
    artifacts.write_parts(
        snakemake.output.metrics,
        "metrics",
        evaluate_runs(),
        seed=params.seed,
        code=params.code,
        **record,
    )
    # the model's trainings are done: what they shared is not needed any more
    shutil.rmtree(Path(snakemake.output.metrics).parents[1] / "features", ignore_errors=True)

from job import job

from headimpact import artifacts
from headimpact.dataset.coco import CocoFolder
from headimpact.evaluate import evaluate, questions
from headimpact.models.load import load, load_adapter
from headimpact.models.locate import locate

with job(snakemake):
    params = snakemake.params
    samples = artifacts.read(snakemake.input.samples, "samples").query("split == 'test'")
    dataset = artifacts.read(snakemake.input.objects, "objects")
    objects = dataset[dataset["sample_id"].isin(samples["sample_id"])]
    annotations = artifacts.read_all(snakemake.input.annotations, "annotations")
    asked = questions(samples, objects, annotations, dataset["description"], params.seed)
    folder, identity = locate(params.model, snakemake.input.get("checkpoint"))
    model, family = load(folder, identity)
    if snakemake.input.get("adapter"):
        model = load_adapter(model, snakemake.input.adapter)
    rows = evaluate(model, family, CocoFolder(**params.root), samples, objects, asked)
    record = {**dict(snakemake.wildcards.items()), "checkpoint": identity}
    artifacts.write(
        snakemake.output.metrics, "metrics", rows, seed=params.seed, code=params.code, **record
    )

from job import job

from headimpact import artifacts
from headimpact.attend import attend
from headimpact.dataset.coco import CocoFolder
from headimpact.models.load import load

with job(snakemake):
    params = snakemake.params
    model, family = load(params.model)
    samples = artifacts.read(snakemake.input.samples, "samples").query("split == 'impact'")
    table = attend(
        model,
        family,
        CocoFolder(**params.root),
        samples.iloc[int(snakemake.wildcards.shard) :: params.shards],
        artifacts.read(snakemake.input.objects, "objects"),
        params.batch,
    )
    artifacts.write(
        snakemake.output.attended, "attended", table, model=params.model, code=params.code
    )

from job import job

from headimpact import artifacts
from headimpact.attend import attend
from headimpact.dataset.coco import CocoFolder
from headimpact.models.load import load
from headimpact.models.locate import locate

with job(snakemake):
    params = snakemake.params
    folder, identity = locate(params.model, snakemake.input.get("checkpoint"))
    model, family = load(folder, identity)
    samples = artifacts.read(snakemake.input.samples, "samples").query("split == 'impact'")
    table = attend(
        model,
        family,
        CocoFolder(**params.root),
        samples.iloc[int(snakemake.wildcards.shard) :: params.shards],
        artifacts.read(snakemake.input.objects, "objects"),
        params.batch,
        params.one_pass,
    )
    artifacts.write_parts(
        snakemake.output.attended, "attended", table, model=identity, code=params.code
    )

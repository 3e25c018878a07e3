from job import job

from headimpact import artifacts
from headimpact.dataset.coco import CocoFolder
from headimpact.dataset.unchanged import check_unchanged
from headimpact.models.load import load
from headimpact.models.locate import locate
from headimpact.scores.attention import attend

with job(snakemake):
    params = snakemake.params
    samples = artifacts.read(snakemake.input.samples, "samples").query("split == 'impact'")
    mine = samples.iloc[int(snakemake.wildcards.shard) :: params.shards]
    images = CocoFolder(**params.root)
    check_unchanged(images, mine)
    folder, identity = locate(params.model, snakemake.input.get("checkpoint"))
    model, family = load(folder, identity)
    table = attend(
        model,
        family,
        images,
        mine,
        artifacts.read(snakemake.input.objects, "objects"),
        # no param: how many at once changes no result
        snakemake.config["studies"][snakemake.wildcards.study]["impact"]["batch"],
        params.one_pass,
    )
    artifacts.write_parts(
        snakemake.output.attended, "attended", table, model=identity, code=params.code
    )

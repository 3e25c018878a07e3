from job import job

from headimpact import artifacts
from headimpact.annotate.instances import annotate
from headimpact.dataset.coco import CocoFolder

with job(snakemake):
    params = snakemake.params
    images = artifacts.read(snakemake.input.images, "images")
    mine = images.iloc[int(snakemake.wildcards.shard) :: params.shards]
    annotations, dropped = annotate(CocoFolder(**params.root), mine, params.description)
    artifacts.write(
        snakemake.output.annotations,
        "annotations",
        annotations,
        annotator="instances",
        code=params.code,
    )
    artifacts.write(snakemake.output.dropped, "dropped", dropped, code=params.code)

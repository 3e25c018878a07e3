from job import job

from headimpact import artifacts
from headimpact.annotate.instances import annotate
from headimpact.dataset.coco import CocoFolder

with job(snakemake):
    params = snakemake.params
    images = artifacts.read(snakemake.input.images, "images").query("annotator == 'instances'")
    mine = images.iloc[int(snakemake.wildcards.shard) :: params.shards]
    annotations, dropped = annotate(CocoFolder(**params.root), mine, params.description)
    record = {"annotator": "instances", "code": params.code}
    artifacts.write(snakemake.output.annotations, "annotations", annotations, **record)
    artifacts.write(snakemake.output.dropped, "dropped", dropped, **record)

from job import job

from headimpact import artifacts
from headimpact.annotate.instances import annotate
from headimpact.dataset.coco import CocoFolder
from headimpact.dataset.unchanged import check_unchanged

with job(snakemake):
    params = snakemake.params
    images = artifacts.read(snakemake.input.images, "images").query("annotator == 'instances'")
    mine = images.iloc[int(snakemake.wildcards.shard) :: params.shards]
    folder = CocoFolder(**params.root)
    check_unchanged(folder, mine)
    annotations, dropped = annotate(folder, mine, params.description)
    record = {"annotator": "instances", "code": params.code}
    artifacts.write(snakemake.output.annotations, "annotations", annotations, **record)
    artifacts.write(snakemake.output.dropped, "dropped", dropped, **record)

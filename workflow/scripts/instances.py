from job import job

from headimpact import artifacts
from headimpact.annotate.instances import read_instances
from headimpact.dataset.coco import CocoFolder

with job(snakemake) as job:
    images = artifacts.read(job.input.images, "images")
    table = read_instances(CocoFolder(**job.params.folder), images)
    job.write(job.output.instances, "instances", table)

from job import job

from headimpact import artifacts
from headimpact.dataset.release import write

with job(snakemake) as job:
    images = artifacts.read(job.input.images, "images")
    annotations = artifacts.read_all(job.input.annotations, "annotations")
    write(job.output.folder, images, annotations, job.params.url)

from job import job

from headimpact import artifacts
from headimpact.dataset.release import write

with job(snakemake):
    images = artifacts.read(snakemake.input.images, "images")
    annotations = artifacts.read_all(snakemake.input.annotations, "annotations")
    write(snakemake.output.folder, images, annotations, snakemake.params.url)

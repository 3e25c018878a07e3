from job import job

from headimpact.dataset.captions import write

with job(snakemake):
    write(snakemake.output.captions, snakemake.input.table, snakemake.params.images)

from job import job

from headimpact.dataset.captions import write

with job(snakemake) as job:
    write(job.output.captions, job.input.table, job.params.images)

from job import job
from open_model import open_family

from headimpact.scores.coverage import shifted_tokens

with job(snakemake) as job:
    family, identity = open_family(job)
    samples, params = job.samples("impact"), job.params
    shifted = shifted_tokens(family, samples, job.objects(samples), params.shifts, params.seed)
    job.write(job.output.shifted, "shifted_tokens", shifted, checkpoint=identity)

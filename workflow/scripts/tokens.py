from job import job
from open_model import open_family

from headimpact.scores.coverage import object_tokens

with job(snakemake) as job:
    family, identity = open_family(job)
    samples = job.samples("impact")
    tokens = object_tokens(family, samples, job.objects(samples))
    job.write(job.output.tokens, "tokens", tokens, checkpoint=identity)

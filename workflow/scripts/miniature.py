from pathlib import Path

from job import job

from headimpact.miniature.checkpoints import publish
from headimpact.miniature.train import train

with job(snakemake) as job:
    work = Path(job.output.checkpoint).parents[1] / "stages"
    publish(train(job.wildcards.name, work, job.params.seed), job.output.checkpoint)

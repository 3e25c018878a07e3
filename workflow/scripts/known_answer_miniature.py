from pathlib import Path

from job import job

from headimpact.miniature.checkpoints import publish
from headimpact.miniature.known_answer import train_known_answer

with job(snakemake) as job:
    work = Path(job.output.checkpoint).parents[1] / "stages"
    last = train_known_answer(job.input.base, job.wildcards.answer, work, job.params.seed)
    publish(last, job.output.checkpoint)

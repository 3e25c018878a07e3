import shutil
from pathlib import Path

from job import job

from headimpact.checkpoints import write_sums
from headimpact.miniature.known_answer import train_known_answer

with job(snakemake) as job:
    work = Path(job.output.checkpoint).parents[1] / "stages"
    last = train_known_answer(job.input.base, job.wildcards.answer, work, job.params.seed)
    shutil.copytree(last, job.output.checkpoint, ignore=shutil.ignore_patterns("done"))
    write_sums(job.output.checkpoint)

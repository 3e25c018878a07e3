import shutil
from pathlib import Path

from job import job

from headimpact.miniature.train import train
from headimpact.models.sums import write_sums

with job(snakemake):
    work = Path(snakemake.output.checkpoint).parents[1] / "stages"
    last = train(snakemake.wildcards.name, work, snakemake.params.seed)
    shutil.copytree(last, snakemake.output.checkpoint, ignore=shutil.ignore_patterns("done"))
    write_sums(snakemake.output.checkpoint)

from pathlib import Path

from job import job

from headimpact.fetch.coco import download

with job(snakemake) as job:
    # the mirror is no param: what is fetched is identified by its hash, not by its place
    root = Path(job.output.images).parent
    download(job.input.table, job.config.downloads.coco, root / "archives", root)

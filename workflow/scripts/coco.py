from pathlib import Path

from job import job

from headimpact.fetch.coco import download

with job(snakemake):
    # the mirror is no param: what is fetched is told by its hash, not by its place
    url = snakemake.config["downloads"]["coco"]
    root = Path(snakemake.output.images).parent
    download(snakemake.input.table, url, root / "archives", root)

from job import job

from headimpact.fetch.release import fetch

with job(snakemake):
    # the mirror is no param: what is fetched is told by its commit, not by its place
    url = snakemake.config["downloads"]["release"]
    fetch(url, snakemake.params.commit, snakemake.output.release)

from job import job

from headimpact.fetch.release import fetch

with job(snakemake) as job:
    # the mirror is no param: what is fetched is identified by its commit, not by its place
    fetch(job.config.downloads.release, job.params.commit, job.output.release)

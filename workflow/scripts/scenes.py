from job import job

from headimpact.dataset.scenes import Look, write

with job(snakemake) as job:
    dataset = job.params.dataset
    look = {name: value for name, value in dataset["look"].items() if value is not None}
    write(job.output.dataset, dataset["images"], dataset["seed"], Look(**look))

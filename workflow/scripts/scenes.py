from job import job

from headimpact.dataset.scenes import Look, write

with job(snakemake):
    dataset = snakemake.params.dataset
    look = Look(**dataset["look"])
    write(snakemake.output.dataset, dataset["images"], dataset["seed"], look)

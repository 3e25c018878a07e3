import pandas as pd
from job import job

with job(snakemake) as job:
    tables = [pd.read_csv(path) for path in job.input.means]
    table = pd.concat(tables, keys=job.params.titles, names=["model"]).reset_index(level="model")
    table.to_csv(job.output.table, index=False)

import pandas as pd
from job import job

from headimpact import artifacts
from headimpact.scores.attribution_checks import attribution_checks

with job(snakemake) as job:
    tables, files = [], job.input.interventions
    shards = len(files) // len(job.params.titles)
    for number, title in enumerate(job.params.titles):
        rows = artifacts.read_all(files[number * shards : (number + 1) * shards], "interventions")
        table = attribution_checks(rows, job.objects(), job.params.outcomes)
        table.insert(0, "model", title)
        tables.append(table)
    pd.concat(tables).to_csv(job.output.table, index=False)

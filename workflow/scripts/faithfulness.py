import pandas as pd
from job import job
from open_head_orders import open_head_orders

from headimpact import artifacts
from headimpact.report.faithfulness import curves_of_model

with job(snakemake) as job:
    titles, outcomes = job.params.titles, job.params.outcomes
    shards = len(job.input.rows) // len(titles)
    scores = len(job.input.scores) // len(titles)
    tables = []
    for number in range(len(titles)):
        files = job.input.rows[number * shards : (number + 1) * shards]
        rows = artifacts.read_all(files, "interventions")
        files = job.input.scores[number * scores : (number + 1) * scores]
        tables.append(curves_of_model(rows, *open_head_orders(job, files), outcomes))
    curves, areas = zip(*tables, strict=True)
    for path, of_models in ((job.output.curves, curves), (job.output.areas, areas)):
        table = pd.concat(of_models, keys=titles, names=["model"]).reset_index(level="model")
        table.to_csv(path, index=False)

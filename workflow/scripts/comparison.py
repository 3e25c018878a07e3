from pathlib import Path

import pandas as pd
from job import job
from open_score_inputs import open_score_inputs

from headimpact import registry
from headimpact.report.paper import compare
from headimpact.statistics import kruskal_interval

with job(snakemake) as job:
    params, files = job.params, job.input
    # a layer alone would be read as a number
    tables = {
        name: pd.read_csv(files[name], dtype={"layers": str} if name == "table3" else None)
        for name in ("table1", "table2", "table3", "table4", "table5")
    }
    entry, intervals = registry.SCORES[params.score["kind"]], {}
    for title in params.names:
        inputs = open_score_inputs(job, title)
        scores = entry.load()(inputs, **params.score["options"])
        intervals[title] = kruskal_interval(scores.items, scores.images)
    table = compare(Path(files.published[0]).parent, params.names, tables, intervals)
    table.to_csv(job.output.comparison, index=False)

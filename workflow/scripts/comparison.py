from pathlib import Path

import pandas as pd
from job import job

from headimpact import artifacts, registry
from headimpact.report.paper import compare
from headimpact.scores.inputs import ScoreInputs
from headimpact.statistics import kruskal_interval

with job(snakemake) as job:
    params, files = job.params, job.input
    # a layer alone would be read as a number
    tables = {
        name: pd.read_csv(files[name], dtype={"layers": str} if name == "table3" else None)
        for name in ("table1", "table2", "table3", "table4", "table5")
    }
    entry = registry.SCORES[params.score["kind"]]
    samples, objects = job.samples("impact"), job.objects()
    shards, intervals = len(files.attention) // len(params.titles), {}
    for number, title in enumerate(params.titles):
        if title in params.names:
            attention = files.attention[number * shards : (number + 1) * shards]
            inputs = ScoreInputs(
                samples,
                objects,
                tokens=artifacts.read(files.tokens[number], "tokens"),
                attention=artifacts.read_all(attention, "attention"),
            )
            scores = entry.load()(inputs, **params.score["options"])
            intervals[title] = kruskal_interval(scores.items, scores.images)
    table = compare(Path(files.published[0]).parent, params.names, tables, intervals)
    table.to_csv(job.output.comparison, index=False)

import pandas as pd
from job import job
from open_score_inputs import open_score_inputs

from headimpact import artifacts, registry
from headimpact.scores.inputs import scores_of_table
from headimpact.scores.recovery import read_reading_heads, recovery

with job(snakemake) as job:
    tables, files = [], iter(job.input.scores)
    for title, reading_heads in zip(job.params.titles, job.input.reading_heads, strict=True):
        inputs = open_score_inputs(job, title)
        layers, heads = inputs.attention[["layer", "head"]].max() + 1
        reading = read_reading_heads(reading_heads, layers, heads)
        for score in job.params.scores:
            entry = registry.SCORES[score["kind"]]
            if entry.needs == ("attention",):
                scores = entry.load()(inputs, **score["options"])
            else:
                # its images cannot be resampled without the model
                scores = scores_of_table(artifacts.read(next(files), "scores"))
            table = recovery(scores, reading, entry.higher_is_better)
            table.insert(0, "score", score["title"])
            table.insert(0, "model", title)
            tables.append(table)
    pd.concat(tables).to_csv(job.output.table, index=False)

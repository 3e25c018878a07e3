import pandas as pd
from job import job

from headimpact import artifacts, registry
from headimpact.scores.inputs import scores_of_table
from headimpact.scores.recovery import read_reading_heads, recovery

with job(snakemake) as job:
    tables, files = [], iter(job.input.scores)
    for title, reading_heads in zip(job.params.titles, job.input.reading_heads, strict=True):
        of_model = [
            scores_of_table(artifacts.read(next(files), "scores")) for _ in job.params.scores
        ]
        # the first score of a study is one of heads
        reading = read_reading_heads(reading_heads, *of_model[0].value.shape)
        for score, scores in zip(job.params.scores, of_model, strict=True):
            table = recovery(scores, reading, registry.SCORES[score["kind"]].higher_is_better)
            table.insert(0, "score", score["title"])
            table.insert(0, "model", title)
            tables.append(table)
    pd.concat(tables).to_csv(job.output.table, index=False)

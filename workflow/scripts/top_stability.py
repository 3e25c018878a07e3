import pandas as pd
from job import job
from open_score_inputs import open_score_inputs

from headimpact import registry
from headimpact.scores.stability import top_stability

with job(snakemake) as job:
    tables = []
    for title in job.params.titles:
        inputs = open_score_inputs(job, title)
        for score in job.params.scores.values():
            entry = registry.SCORES[score["kind"]]
            scores = entry.load()(inputs, **score["options"])
            for count in score["counts"]:
                table = top_stability(scores, count, entry.higher_is_better)
                table.insert(0, "count", count)
                table.insert(0, "score", score["title"])
                table.insert(0, "model", title)
                tables.append(table)
    pd.concat(tables).to_csv(job.output.table, index=False)

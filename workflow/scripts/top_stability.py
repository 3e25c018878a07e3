import pandas as pd
from job import job

from headimpact import artifacts, registry
from headimpact.scores.inputs import ScoreInputs
from headimpact.scores.stability import top_stability

with job(snakemake) as job:
    shards = len(job.input.attention) // len(job.params.titles)
    samples, objects, tables = job.samples("impact"), job.objects(), []
    for number, title in enumerate(job.params.titles):
        attention = job.input.attention[number * shards : (number + 1) * shards]
        inputs = ScoreInputs(
            samples,
            objects,
            tokens=artifacts.read(job.input.tokens[number], "tokens"),
            attention=artifacts.read_all(attention, "attention"),
        )
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

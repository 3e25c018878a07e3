from job import job

from headimpact import artifacts
from headimpact.report.tables import table2, uncovered_objects

with job(snakemake) as job:
    titles, objects = job.params.titles, job.objects()
    scores = [artifacts.read(path, "scores") for path in job.input.scores]
    tokens = [artifacts.read(path, "tokens") for path in job.input.tokens]
    table2(dict(zip(titles, scores, strict=True))).to_csv(job.output.table, index=False)
    uncovered = uncovered_objects(
        dict(zip(titles, tokens, strict=True)), objects, job.params.mask_share
    )
    uncovered.to_csv(job.output.uncovered, index=False)

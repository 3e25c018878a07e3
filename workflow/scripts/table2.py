from job import job

from headimpact import artifacts
from headimpact.report.tables import table2, token_coverage, uncovered_objects

with job(snakemake) as job:
    titles, objects = job.params.titles, job.objects()
    tokens = {
        title: artifacts.read(path, "tokens")
        for title, path in zip(titles, job.input.tokens, strict=True)
    }
    files = iter(job.input.scores)
    scores = {
        score: {title: artifacts.read(next(files), "scores") for title in titles}
        for score in job.params.scores
    }
    table2(scores).to_csv(job.output.table, index=False)
    uncovered = uncovered_objects(tokens, objects, job.params.mask_share)
    uncovered.to_csv(job.output.uncovered, index=False)
    coverage = token_coverage(tokens, uncovered, job.params.mask_share)
    coverage.to_csv(job.output.coverage, index=False)

from job import job

from headimpact import artifacts
from headimpact.report.tables import table2, token_coverage, uncovered_objects

with job(snakemake) as job:
    titles, objects = job.params.titles, job.objects()
    scores = [artifacts.read(path, "scores") for path in job.input.scores]
    files = [artifacts.read(path, "tokens") for path in job.input.tokens]
    tokens = dict(zip(titles, files, strict=True))
    table2(dict(zip(titles, scores, strict=True))).to_csv(job.output.table, index=False)
    uncovered = uncovered_objects(tokens, objects, job.params.mask_share)
    uncovered.to_csv(job.output.uncovered, index=False)
    coverage = token_coverage(tokens, uncovered, job.params.mask_share)
    coverage.to_csv(job.output.coverage, index=False)

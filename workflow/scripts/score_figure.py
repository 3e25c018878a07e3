from job import job

from headimpact import artifacts
from headimpact.report import figures

with job(snakemake) as job:
    tables = [artifacts.read(path, "scores") for path in job.input.scores]
    scores = dict(zip(job.params.titles, tables, strict=True))
    figure = figures.score_figure(scores, job.params.name)
    figures.save(figure, [job.output.svg, job.output.png])

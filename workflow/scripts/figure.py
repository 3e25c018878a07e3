from job import job

from headimpact import artifacts
from headimpact.report import figures

with job(snakemake) as job:
    draw = getattr(figures, f"figure{job.wildcards.number}")
    tables = [artifacts.read(path, "scores") for path in job.input.scores]
    figure = draw(dict(zip(job.params.titles, tables, strict=True)), job.params.name)
    figures.save(figure, [job.output.svg, job.output.png])

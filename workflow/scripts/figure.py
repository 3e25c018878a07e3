from job import job

from headimpact import artifacts
from headimpact.report import figures

with job(snakemake) as job:
    titles, draw = job.params.titles, getattr(figures, f"figure{job.wildcards.number}")
    scores, nulls = (
        {
            title: artifacts.read(path, "scores")
            for title, path in zip(titles, files, strict=False)  # a score may have no nulls
        }
        for files in (job.input.scores, job.input.nulls)
    )
    figure = draw(scores, job.params.name, nulls)
    figures.save(figure, [job.output.svg, job.output.png])

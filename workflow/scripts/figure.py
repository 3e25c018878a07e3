from job import job

from headimpact import artifacts
from headimpact.report import figures

with job(snakemake):
    draw = getattr(figures, f"figure{snakemake.wildcards.number}")
    read = [artifacts.read(path, "head_scores") for path in snakemake.input.scores]
    figure = draw(dict(zip(snakemake.params.titles, read, strict=True)))
    figures.save(figure, [snakemake.output.svg, snakemake.output.png])

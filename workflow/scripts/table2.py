from job import job

from headimpact import artifacts
from headimpact.report.tables import table2

with job(snakemake):
    read = [artifacts.read(path, "head_scores") for path in snakemake.input.scores]
    scores = dict(zip(snakemake.params.titles, read, strict=True))
    table2(scores).to_csv(snakemake.output.table, index=False)

from pathlib import Path

from job import job

from headimpact import artifacts
from headimpact.report.tables import label_shares, table4, table4_draws, table4_markdown

with job(snakemake):
    params, files = snakemake.params, snakemake.input.metrics
    metrics, shards = {}, len(files) // len(params.titles)
    for i, title in enumerate(params.titles):
        table = artifacts.read_all(files[i * shards : (i + 1) * shards], "metrics")
        of_run = dict(list(table.groupby(["setup", "draw"])))
        metrics[title] = {tuple(run): of_run[tuple(run)] for run in params.runs}
    table = table4(metrics, params.answer_probability)
    table.to_csv(snakemake.output.table, index=False)
    Path(snakemake.output.markdown).write_text(table4_markdown(table), encoding="utf-8")
    draws = table4_draws(metrics, params.answer_probability)
    draws.to_csv(snakemake.output.draws, index=False)
    label_shares(metrics).to_csv(snakemake.output.labels, index=False)

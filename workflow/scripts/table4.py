from pathlib import Path

from job import job
from open_answers import open_answers
from open_layers import open_layers

from headimpact.evaluation.metrics import load_metrics
from headimpact.report.shifts import shifts_markdown, table4_shifts, top_ranks
from headimpact.report.table4 import label_shares, table4, table4_draws, table4_markdown

with job(snakemake) as job:
    answers, metrics = open_answers(job), load_metrics(job.params.metrics)
    table = table4(answers, metrics)
    shifts = table4_shifts(answers, metrics, open_layers(job), job.params.top_setups)
    ranks = top_ranks(shifts, job.params.ranked_setups)
    table.to_csv(job.output.table, index=False)
    shifts.to_csv(job.output.shifts, index=False)
    ranks.to_csv(job.output.ranks, index=False)
    for path, text in (
        (job.output.markdown, table4_markdown(table, metrics, shifts)),
        (job.output.shifts_markdown, shifts_markdown(shifts, ranks, metrics)),
    ):
        Path(path).write_text(text, encoding="utf-8")
    table4_draws(answers, metrics).to_csv(job.output.draws, index=False)
    label_shares(answers).to_csv(job.output.labels, index=False)

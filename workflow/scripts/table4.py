from pathlib import Path

from job import job

from headimpact import artifacts
from headimpact.evaluation.metrics import load_metrics
from headimpact.report.table4 import label_shares, table4, table4_draws, table4_markdown

with job(snakemake) as job:
    questions = artifacts.read(job.input.questions, "questions")
    metrics, files = load_metrics(job.params.metrics), iter(job.input.answers)
    answers = {
        title: {
            tuple(run): artifacts.read(next(files), "answers").merge(questions, on="object_id")
            for run in job.params.runs
        }
        for title in job.params.titles
    }
    table = table4(answers, metrics)
    table.to_csv(job.output.table, index=False)
    Path(job.output.markdown).write_text(table4_markdown(table, metrics), encoding="utf-8")
    table4_draws(answers, metrics).to_csv(job.output.draws, index=False)
    label_shares(answers).to_csv(job.output.labels, index=False)

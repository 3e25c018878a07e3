from pathlib import Path

import pandas as pd
from job import job

from headimpact import artifacts, registry
from headimpact.evaluation.metrics import load_metrics
from headimpact.report.job_times import read_benchmarks, score_times
from headimpact.report.table6 import RankedScore, Training, table6, table6_markdown


def read_csv(path):
    return None if path is None else pd.read_csv(path)


with job(snakemake) as job:
    params, files = job.params, iter(job.input.scores)
    scores = {
        title: {
            score["title"]: RankedScore(
                artifacts.read(next(files), "scores"),
                registry.SCORES[score["kind"]].higher_is_better,
            )
            for score in params.scores
        }
        for title in params.titles
    }
    training = None
    if params.trained is not None:
        metrics, trained = load_metrics(params.metrics), dict(params.trained)
        training = Training(
            pd.read_csv(job.input.shifts),
            pd.read_csv(job.input.ranks),
            metrics={metric.title: name for name, metric in metrics.items()},
            **trained | {"ranked": metrics[trained["ranked"]].title},
        )
    times = score_times(
        read_benchmarks(Path(job.output.table).parent / "benchmarks"),
        params.jobs,
        params.attention_jobs,
        len(job.samples("impact")),
    )
    table = table6(
        scores,
        params.top_count,
        params.attribution,
        read_csv(job.input.get("areas")),
        read_csv(job.input.get("known")),
        training,
        times,
    )
    table.to_csv(job.output.table, index=False)
    Path(job.output.markdown).write_text(table6_markdown(table), encoding="utf-8")

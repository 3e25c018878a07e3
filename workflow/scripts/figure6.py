from job import job
from open_answers import open_answers
from open_layers import open_layers

from headimpact.evaluation.metrics import load_metrics
from headimpact.report.figures import save
from headimpact.report.forgetting import changes_of_runs, figure6

with job(snakemake) as job:
    metrics = load_metrics(job.params.metrics)
    trainings = dict(zip(map(tuple, job.params.runs), job.params.trainings, strict=True))
    changes = changes_of_runs(open_answers(job), metrics, open_layers(job), trainings)
    changes.to_csv(job.output.table, index=False)
    save(figure6(changes, metrics, job.params.learned), [job.output.svg, job.output.png])

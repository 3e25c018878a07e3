from job import job

from headimpact import artifacts
from headimpact.evaluation.questions import make_questions

with job(snakemake) as job:
    samples = job.samples("test")
    objects = job.objects()
    annotations = artifacts.read_all(job.input.annotations, "annotations")
    questions = make_questions(
        samples, job.objects(samples), annotations, objects["description"], job.params.seed
    )
    job.write(job.output.questions, "questions", questions, seed=job.params.seed)

from job import job

from headimpact import artifacts
from headimpact.evaluation.questions import make_questions

with job(snakemake) as job:
    settings = job.params
    samples = job.samples(settings.split)
    questions = make_questions(
        samples,
        job.objects(samples),
        artifacts.read_all(job.input.annotations, "annotations"),
        job.objects()["description"],
        settings.seed,
        settings.wrong_options,
    )
    chosen = {"seed": settings.seed, "wrong_options": settings.wrong_options}
    job.write(job.output.questions, "questions", questions, **chosen)

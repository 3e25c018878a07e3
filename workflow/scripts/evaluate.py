from job import job
from open_images import open_images
from open_model import open_model

from headimpact import artifacts
from headimpact.evaluation.evaluate import evaluate
from headimpact.models import features
from headimpact.training.lora import check_adapter, load_adapter

with job(snakemake) as job:
    samples = job.samples("test")
    objects = job.objects(samples)
    samples = samples[samples["sample_id"].isin(objects["sample_id"])]
    adapter = job.input.get("adapter")
    if adapter:
        check_adapter(adapter, job.input.history)
    model, family, identity = open_model(job)
    stored = features.load(job.input.get("features"), samples)
    images = open_images(job, samples[~samples["sample_id"].isin(stored)])
    known = features.load_or_compute(model, family, images, samples, stored)
    if adapter:
        load_adapter(model, adapter)
    rows = evaluate(
        model,
        family,
        known,
        objects,
        artifacts.read(job.input.questions, "questions"),
        job.study.evaluation.batch,
        job.params.one_pass,
    )
    job.write(job.output.answers, "answers", rows, checkpoint=identity)

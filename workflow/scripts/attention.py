from job import job
from open_images import open_images
from open_model import open_model

from headimpact.scores.attention import measure_attention

with job(snakemake) as job:
    samples = job.samples("impact")
    images = open_images(job, samples)
    model, family, identity = open_model(job)
    job.write_parts(
        job.output.attention,
        "attention",
        measure_attention(
            model,
            family,
            images,
            samples,
            job.objects(samples),
            job.study.attention.batch,
            job.params.one_pass,
        ),
        checkpoint=identity,
    )

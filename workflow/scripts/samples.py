from job import job

from headimpact import artifacts
from headimpact.dataset.samples import count_outcomes, make_samples, split_sizes

with job(snakemake) as job:
    params, sampling = job.params, job.params.sampling
    images = artifacts.read(job.input.images, "images")
    annotations = artifacts.read_all(job.input.annotations, "annotations")
    samples, objects, dropped = make_samples(
        images,
        annotations,
        artifacts.read_all(job.input.dropped, "dropped"),
        split_sizes(sampling["images"], sampling["proportions"]),
        params.annotators,
        params.min_confidence,
        sampling["objects_per_image"],
        sampling["order"],
        sampling["seed"],
    )
    job.write(job.output.samples, "samples", samples, **sampling)
    job.write(job.output.objects, "objects", objects, **sampling)
    job.write(job.output.dropped, "dropped", dropped, **sampling)
    counts = count_outcomes(images, annotations, dropped, samples, objects)
    counts.to_csv(job.output.counts, index=False)

from job import job

from headimpact import artifacts
from headimpact.dataset.samples import count_outcomes, make_samples, split_sizes

with job(snakemake):
    params, sampling = snakemake.params, snakemake.params.sampling
    images = artifacts.read(snakemake.input.images, "images")
    annotations = artifacts.read_all(snakemake.input.annotations, "annotations")
    samples, objects, dropped = make_samples(
        images,
        annotations,
        artifacts.read_all(snakemake.input.dropped, "dropped"),
        split_sizes(sampling["images"], sampling["proportions"]),
        params.annotators,
        params.min_confidence,
        sampling["objects_per_image"],
        sampling["order"],
        sampling["seed"],
    )
    record = {"study": snakemake.wildcards.study, "code": params.code, **sampling}
    artifacts.write(snakemake.output.samples, "samples", samples, **record)
    artifacts.write(snakemake.output.objects, "objects", objects, **record)
    artifacts.write(snakemake.output.dropped, "dropped", dropped, **record)
    counts = count_outcomes(images, annotations, dropped, samples, objects)
    counts.to_csv(snakemake.output.counts, index=False)

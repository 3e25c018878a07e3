from job import job

from headimpact import artifacts
from headimpact.dataset.samples import make_samples, split_sizes

with job(snakemake):
    sampling = snakemake.params.sampling
    samples, objects, dropped = make_samples(
        artifacts.read(snakemake.input.images, "images"),
        artifacts.read_all(snakemake.input.annotations, "annotations"),
        artifacts.read_all(snakemake.input.dropped, "dropped"),
        split_sizes(sampling["images"], sampling["proportions"]),
        snakemake.params.min_confidence,
        sampling["objects_per_image"],
        sampling["order"],
        sampling["seed"],
    )
    record = {"study": snakemake.wildcards.study, "code": snakemake.params.code, **sampling}
    artifacts.write(snakemake.output.samples, "samples", samples, **record)
    artifacts.write(snakemake.output.objects, "objects", objects, **record)
    artifacts.write(snakemake.output.dropped, "dropped", dropped, **record)

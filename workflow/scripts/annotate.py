from job import job
from open_checkpoint import open_checkpoint
from open_images import open_images

from headimpact import artifacts, registry

with job(snakemake) as job:
    name, options = job.wildcards.annotator, dict(job.params.options)
    entry = registry.ANNOTATORS[name]
    images = artifacts.read(job.input.images, "images")
    images = job.share(images[images["annotator"] == name])
    record = {"annotator": name}
    for option in entry.checkpoints:
        options[option], record[option] = open_checkpoint(options[option], job.input.get(option))
    if "release" in entry.needs:
        record["release"], options["release"] = options["release"], job.input.release
    if "instances" in entry.needs:
        options["instances"] = artifacts.read(job.input.instances, "instances")
    if "model" in entry.needs:
        options["batch"] = job.study.annotator.batch
    annotations, dropped = entry.load()(open_images(job, images), images, **options)
    job.write(job.output.annotations, "annotations", annotations, **record)
    job.write(job.output.dropped, "dropped", dropped, **record)

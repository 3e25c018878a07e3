import json
from pathlib import Path

from job import job
from open_images import open_images
from open_model import open_model

from headimpact.models import features

with job(snakemake) as job:
    record = Path(job.output.record)
    samples = job.samples("train", "validation", "test")
    images = open_images(job, samples)
    model, family, identity = open_model(job)
    computed = features.compute(model, family, images, samples)
    count, size, files = features.write(record.with_suffix(""), computed)
    content = {"images": count, "bytes": size, "files": files, "checkpoint": identity}
    content["code"] = job.params.code
    record.write_text(json.dumps(content, indent=1), encoding="utf-8")

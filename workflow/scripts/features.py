import json
from pathlib import Path

from job import job

from headimpact import artifacts
from headimpact.dataset.coco import CocoFolder
from headimpact.dataset.unchanged import check_unchanged
from headimpact.models import features
from headimpact.models.load import load
from headimpact.models.locate import locate

with job(snakemake):
    params, kept = snakemake.params, Path(snakemake.output.kept)
    samples = artifacts.read(snakemake.input.samples, "samples")
    samples = samples[samples["split"].isin(["train", "validation"])]
    images = CocoFolder(**params.root)
    check_unchanged(images, samples)
    folder, identity = locate(params.model, snakemake.input.get("checkpoint"))
    model, family = load(folder, identity)
    computed = features.compute(model, family, images, samples)
    count, size, files = features.write(kept.with_suffix(""), computed)
    record = {"images": count, "bytes": size, "files": files, "checkpoint": identity}
    record["code"] = params.code
    kept.write_text(json.dumps(record, indent=1), encoding="utf-8")

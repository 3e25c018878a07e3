import hashlib
import json
import shutil
from functools import partial
from pathlib import Path

from job import job

from headimpact import artifacts
from headimpact.dataset.coco import CocoFolder
from headimpact.dataset.unchanged import check_unchanged
from headimpact.models import features
from headimpact.models.load import load
from headimpact.models.locate import locate
from headimpact.scores.layers import choose, layer_scores
from headimpact.training.batches import make_items
from headimpact.training.finetune import finetune
from headimpact.training.lora import adapter_digest, add_adapter

with job(snakemake):
    params, wildcards = snakemake.params, snakemake.wildcards
    folder, identity = locate(params.model, snakemake.input.get("checkpoint"))
    model, family = load(folder, identity)
    draw = int(wildcards.draw)
    means = None
    if snakemake.input.get("scores"):
        means = layer_scores(artifacts.read(snakemake.input.scores, "head_scores"))
    layers = choose(params.setup, family.layers, means, draw, params.layer_seed)
    samples = artifacts.read(snakemake.input.samples, "samples")
    objects = artifacts.read(snakemake.input.objects, "objects")
    mine = samples[samples["split"].isin(["train", "validation"])]
    kept = snakemake.input.get("features")
    known = {}
    if kept:
        files = json.loads(Path(kept).read_bytes())["files"]
        known = features.read(Path(kept).with_suffix(""), files)
    # all of them where none are kept, or no longer
    missing = mine[~mine["sample_id"].isin(known)]
    images = CocoFolder(**params.root)
    check_unchanged(images, missing)
    for sample, tensor in features.compute(model, family, images, missing):
        known[sample.sample_id] = tensor.cpu()
    splits = {
        split: make_items(family, known, theirs, objects) for split, theirs in mine.groupby("split")
    }
    # checkpoints of another training must not be taken for this one's
    told = json.dumps(
        [dict(params.items()), identity, layers, objects["description"].tolist()], default=str
    )
    work = (
        Path(snakemake.output.adapter).parent
        / "epochs"
        / hashlib.sha256(told.encode()).hexdigest()[:16]
    )
    training = {**params.training, "seed": params.training["seed"] + draw}
    history = finetune(
        model,
        family,
        layers,
        splits["train"],
        splits["validation"],
        partial(add_adapter, lora=params.lora),
        training,
        params.shortcuts,
        work,
        snakemake.output.adapter,
    )
    record = {
        "adapter": adapter_digest(snakemake.output.adapter),
        "checkpoint": identity,
        "layers": layers,
        "lora": params.lora,
        "training": training,
        "history": history,
    }
    Path(snakemake.output.history).write_text(json.dumps(record, indent=1), encoding="utf-8")
    shutil.rmtree(work.parent)

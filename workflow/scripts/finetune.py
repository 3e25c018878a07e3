import hashlib
import json
import shutil
from pathlib import Path

from job import job

from headimpact import artifacts
from headimpact.dataset.coco import CocoFolder
from headimpact.finetune import finetune, make_items
from headimpact.layers import choose, layer_scores
from headimpact.models.load import load
from headimpact.models.locate import locate

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
    splits = {}
    for split in ("train", "validation"):
        mine = samples[samples["split"] == split]
        theirs = objects[objects["sample_id"].isin(mine["sample_id"])]
        splits[split] = make_items(model, family, CocoFolder(**params.root), mine, theirs)
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
        params.lora,
        training,
        work,
        snakemake.output.adapter,
    )
    record = {
        "checkpoint": identity,
        "layers": layers,
        "lora": params.lora,
        "training": training,
        "history": history,
    }
    Path(snakemake.output.history).write_text(json.dumps(record, indent=1), encoding="utf-8")
    shutil.rmtree(work.parent)

import hashlib
import json
import shutil
from functools import partial
from pathlib import Path

from job import job
from open_images import open_images
from open_model import open_model

from headimpact import registry
from headimpact.models import features
from headimpact.training.batches import make_items
from headimpact.training.finetune import finetune
from headimpact.training.lora import adapter_digest
from headimpact.training.model_card import model_card

with job(snakemake) as job:
    params, adapter = job.params, Path(job.output.adapter)
    choice = json.loads(Path(job.input.layers).read_bytes())
    layers = choice["layers"]
    samples = job.samples("train", "validation")
    objects = job.objects(samples)
    model, family, identity = open_model(job)
    stored = features.load(job.input.get("features"), samples)
    images = open_images(job, samples[~samples["sample_id"].isin(stored)])
    known = {
        sample.sample_id: tensor.cpu()
        for sample, tensor in features.load_or_compute(model, family, images, samples, stored)
    }
    items = {
        split: make_items(family, known, part, objects) for split, part in samples.groupby("split")
    }
    # the state of another training must not be taken for this one's
    training = [dict(params.items()), identity, layers, objects["description"].tolist()]
    digest = hashlib.sha256(json.dumps(training, default=str).encode()).hexdigest()
    state = adapter.parent / "epochs" / digest[:16]
    method = registry.METHODS[params.method["kind"]].load()
    history = finetune(
        model,
        family,
        layers,
        items["train"],
        items["validation"],
        partial(method, **params.method["options"]),
        params.training,
        {"few_logits": params.few_logits, "frozen_layers": params.frozen_layers},
        state,
        adapter,
    )
    record = {
        "adapter": adapter_digest(adapter),
        "checkpoint": identity,
        "layers": layers,
        "method": params.method,
        "training": params.training,
        "history": history,
    }
    Path(job.output.history).write_text(json.dumps(record, indent=1), encoding="utf-8")
    data = ", ".join(f"{len(part)} descriptions ({split})" for split, part in items.items())
    card = model_card(str(adapter), dict(job.wildcards.items()), identity, choice, record, data)
    (adapter / "README.md").write_text(card, encoding="utf-8")
    shutil.rmtree(state.parent)

import json
from pathlib import Path

from job import job
from open_checkpoint import find_checkpoint

from headimpact import artifacts, checkpoints, registry
from headimpact.scores.layers import Decoder, layer_scores

with job(snakemake) as job:
    choice, scores = dict(job.params.layers), None
    if job.input.get("score"):
        scores = layer_scores(artifacts.read(job.input.score, "scores"))
        scores = scores if choice["higher_is_better"] else -scores
        total = len(scores)
    else:
        folder, _ = find_checkpoint(job.params.model, job.input.get("checkpoint"))
        total = checkpoints.decoder_layers(folder, folder)
        if total is None:  # config.json leaves it to the class
            from headimpact.models.load import decoder_depth

            total = decoder_depth(folder)
    target = json.loads(Path(job.input.target).read_bytes()) if job.input.get("target") else {}
    decoder = Decoder(
        total=total,
        scores=scores,
        seed=choice.get("seed"),
        draw=int(job.wildcards.draw),
        published=choice.get("published"),
        setup=job.wildcards.setup,
        matched_layers=target.get("layers", []),
    )
    layers = registry.LAYER_CHOICES[choice["choice"]].load()(decoder, **choice["options"])
    content = {"layers": layers, **choice, "draw": decoder.draw}
    if target:
        content["overlap"] = len({*layers} & {*target["layers"]})
    Path(job.output.layers).write_text(json.dumps(content), encoding="utf-8")

from job import job

from headimpact import artifacts, registry
from headimpact.scores.inputs import ScoreInputs, scores_table

with job(snakemake) as job:
    settings, identity = job.params.score, None
    entry = registry.SCORES[settings["kind"]]
    inputs = ScoreInputs(samples=job.samples("impact"), objects=job.objects())
    if "attention" in entry.needs:
        inputs.tokens = artifacts.read(job.input.tokens, "tokens")
        inputs.attention = artifacts.read_all(job.input.attention, "attention")
        identity = artifacts.provenance(job.input.attention[0]).get("checkpoint")
    if "model" in entry.needs:
        from open_images import open_images
        from open_model import open_model

        inputs.images = open_images(job, inputs.samples)
        inputs.model, inputs.family, identity = open_model(job)
    table = scores_table(job.wildcards.score, entry.load()(inputs, **settings["options"]))
    job.write(job.output.score, "scores", table, settings=settings, checkpoint=identity)

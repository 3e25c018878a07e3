from job import job
from open_score_inputs import open_score_inputs

from headimpact import artifacts, registry
from headimpact.scores.inputs import scores_table

with job(snakemake) as job:
    settings, inputs, identity = job.params.score, open_score_inputs(job), None
    entry = registry.SCORES[settings["kind"]]
    kinds = ("attention", "interventions", "knockouts")
    of_model = next((files for kind in kinds if (files := job.input.get(kind))), None)
    if of_model:
        identity = artifacts.provenance(of_model[0]).get("checkpoint")
    if "model" in entry.needs:
        from open_images import open_images

        inputs.images = open_images(job, inputs.samples)
    if "model" in entry.needs or "weights" in entry.needs:
        from open_model import open_model

        inputs.model, inputs.family, identity = open_model(job)
    table = scores_table(job.wildcards.score, entry.load()(inputs, **settings["options"]))
    job.write(job.output.score, "scores", table, settings=settings, checkpoint=identity)

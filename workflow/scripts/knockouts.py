from job import job
from open_items import open_items
from open_model import open_model

from headimpact import artifacts
from headimpact.scores.intervention_design import shuffle_items
from headimpact.scores.knockout_design import token_sets
from headimpact.scores.knockout_rows import KnockoutSettings, knockout_rows

with job(snakemake) as job:
    draw, settings = job.params.draw, job.params.settings
    samples = artifacts.read(job.input.samples, "samples")
    drawn = shuffle_items(samples, job.objects(), "impact", draw["seed"]).head(draw["count"])
    items, samples, images, questions = open_items(job, drawn)
    tokens = artifacts.read(job.input.tokens, "tokens")
    model, family, identity = open_model(job)
    rows = knockout_rows(
        model,
        family,
        images,
        samples,
        items,
        token_sets(tokens, job.objects(samples), items["object_id"].tolist(), draw["seed"]),
        questions,
        KnockoutSettings(**settings),
        job.study.knockout.batch,
    )
    record = {"settings": settings, "draw": draw, "checkpoint": identity}
    job.write_parts(job.output.rows, "knockouts", rows, **record)

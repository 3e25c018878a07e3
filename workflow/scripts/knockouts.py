from job import job
from open_images import open_images
from open_model import open_model

from headimpact import artifacts
from headimpact.scores.knockout_design import draw_items, token_sets
from headimpact.scores.knockout_rows import KnockoutSettings, knockout_rows

with job(snakemake) as job:
    draw, settings, questions = job.params.draw, job.params.settings, job.input.get("questions")
    samples = artifacts.read(job.input.samples, "samples")
    samples = samples[samples["split"] == "impact"]
    # the items are drawn from all images, and shared out then
    items = job.share(draw_items(samples, job.objects(samples), **draw))
    samples = samples[samples["sample_id"].isin(items["sample_id"])]
    tokens = artifacts.read(job.input.tokens, "tokens")
    images = open_images(job, samples)
    model, family, identity = open_model(job)
    rows = knockout_rows(
        model,
        family,
        images,
        samples,
        items,
        token_sets(tokens, job.objects(samples), items["object_id"].tolist(), draw["seed"]),
        artifacts.read(questions, "questions") if questions else None,
        KnockoutSettings(**settings),
        job.study.knockout.batch,
    )
    record = {"settings": settings, "draw": draw, "checkpoint": identity}
    job.write_parts(job.output.rows, "knockouts", rows, **record)

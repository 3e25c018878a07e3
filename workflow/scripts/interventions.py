from functools import partial

from job import job
from open_images import open_images
from open_model import open_model

from headimpact import artifacts
from headimpact.scores.intervention_design import ablated_heads, draw_items
from headimpact.scores.intervention_rows import intervention_rows

with job(snakemake) as job:
    samples, questions = artifacts.read(job.input.samples, "samples"), job.input.get("questions")
    # the items are drawn from all images, and shared out then
    items = job.share(draw_items(samples, job.objects(), **job.params.item_draw))
    samples = samples[samples["sample_id"].isin(items["sample_id"])]
    images = open_images(job, samples)
    model, family, identity = open_model(job)
    rows = intervention_rows(
        model,
        family,
        images,
        samples,
        items,
        artifacts.read(questions, "questions") if questions else None,
        partial(ablated_heads, **job.params.head_sets),
        job.wildcards.design,
        **job.params.settings,
        batch=job.study.interventions.batch,
    )
    job.write_parts(job.output.rows, "interventions", rows, checkpoint=identity)

from functools import partial

from job import job
from open_items import open_items
from open_model import open_model

from headimpact import artifacts
from headimpact.scores.intervention_design import ablated_heads, draw_items
from headimpact.scores.intervention_rows import intervention_rows

with job(snakemake) as job:
    samples = artifacts.read(job.input.samples, "samples")
    drawn = draw_items(samples, job.objects(), **job.params.item_draw)
    items, samples, images, questions = open_items(job, drawn)
    model, family, identity = open_model(job)
    rows = intervention_rows(
        model,
        family,
        images,
        samples,
        items,
        questions,
        partial(ablated_heads, **job.params.head_sets),
        job.wildcards.design,
        **job.params.settings,
        batch=job.study.interventions.batch,
    )
    job.write_parts(job.output.rows, "interventions", rows, checkpoint=identity)

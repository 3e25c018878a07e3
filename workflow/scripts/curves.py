from job import job
from open_head_orders import open_head_orders
from open_items import open_items
from open_model import open_model

from headimpact import artifacts
from headimpact.scores.head_orders import ablated_sets
from headimpact.scores.intervention_design import shuffle_items
from headimpact.scores.intervention_rows import intervention_rows

with job(snakemake) as job:
    settings = job.params.settings
    samples = artifacts.read(job.input.samples, "samples")
    drawn = shuffle_items(samples, job.objects(), "test", job.params.orders["seed"])
    items, samples, images, questions = open_items(job, drawn.head(settings["items"]))
    model, family, identity = open_model(job)
    ablated = ablated_sets(*open_head_orders(job, job.input.scores))
    ablated = ablated.reshape(-1, family.layers, family.heads)
    rows = (
        part
        for variant in settings["variants"]
        for part in intervention_rows(
            model,
            family,
            images,
            samples,
            items,
            questions,
            lambda *_: ablated,
            "curve",
            variant,
            settings["outcomes"],
            job.study.faithfulness.batch,
        )
    )
    job.write_parts(job.output.rows, "interventions", rows, checkpoint=identity)

"""Opens the items of a job that runs a model on some objects, one an image."""

from open_images import open_images

from headimpact import artifacts


def open_items(job, items):
    """The job's share of `items`, a table of kind "objects", their samples, images and questions.

    The items are drawn from all images before, and shared out here. There are no questions, None,
    if the rule has none.
    """
    items, samples = job.share(items), artifacts.read(job.input.samples, "samples")
    samples = samples[samples["sample_id"].isin(items["sample_id"])]
    questions = job.input.get("questions")
    questions = artifacts.read(questions, "questions") if questions else None
    return items, samples, open_images(job, samples), questions

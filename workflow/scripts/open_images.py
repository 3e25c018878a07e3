"""Opens the images of a study."""

from headimpact.dataset.coco import CocoFolder


def open_images(job, samples):
    """The study's CocoFolder.

    samples: a table of kind "images" or "samples". Raises UserError if one of their files is not
    as it was when the study was drawn.
    """
    folder = CocoFolder(**job.params.folder)
    folder.check_unchanged(samples)
    return folder

import math

from job import job

from headimpact import artifacts
from headimpact.dataset.coco import CocoFolder
from headimpact.dataset.samples import draw_images

with job(snakemake):
    params = snakemake.params
    captions = CocoFolder(**params.root).captions()
    with_spare = math.ceil(params.wanted * (1 + params.spare))
    count = max(params.wanted, min(with_spare, captions["image_id"].nunique()))
    images = draw_images(captions, count, params.seed)
    artifacts.write(snakemake.output.images, "images", images, seed=params.seed, code=params.code)

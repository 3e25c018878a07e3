from job import job

from headimpact.dataset.coco import CocoFolder
from headimpact.dataset.release import Release
from headimpact.dataset.samples import draw_study, split_sizes

with job(snakemake) as job:
    params = job.params
    folder = CocoFolder(**params.folder)
    # a folder with instances alone has no captions to choose from
    captions = folder.uncaptioned() if job.input.get("instances") else folder.captions()
    folder.check_images(captions)
    pools = {}
    if "release" in params.annotators.values():
        # the release says which caption was drawn; the dataset knows the images' sizes
        samples = Release(job.input.release).samples()
        sizes = captions.drop_duplicates("image_id")[["image_id", "width", "height"]]
        pools["release"] = samples.merge(sizes, on="image_id")
        missing = len(samples) - len(pools["release"])
        print(f"{missing} of the release's {len(samples)} images are not in the dataset")
    for annotator in params.annotators.values():
        pools.setdefault(annotator, captions)
    sizes = split_sizes(params.images, params.proportions)
    images = draw_study(pools, sizes, params.annotators, params.spare, params.seed)
    images["sha256"] = folder.file_hashes(images["file_name"])
    job.write(job.output.images, "images", images, seed=params.seed)

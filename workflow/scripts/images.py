from job import job

from headimpact import artifacts
from headimpact.dataset.coco import CocoFolder
from headimpact.dataset.release import Release
from headimpact.dataset.samples import draw_study, split_sizes
from headimpact.dataset.unchanged import digests

with job(snakemake):
    params = snakemake.params
    folder = CocoFolder(**params.root)
    captions = folder.captions()
    pools = {}
    if "release" in params.annotators.values():
        # the release says which caption was drawn; the dataset knows the images' sizes
        samples = Release(snakemake.input.release).samples()
        sizes = captions.drop_duplicates("image_id")[["image_id", "width", "height"]]
        pools["release"] = samples.merge(sizes, on="image_id")
        missing = len(samples) - len(pools["release"])
        print(f"{missing} of the release's {len(samples)} images are not in the dataset")
    for annotator in params.annotators.values():
        pools.setdefault(annotator, captions)
    sampling = params.sampling
    sizes = split_sizes(sampling["images"], sampling["proportions"])
    images = draw_study(pools, sizes, params.annotators, sampling["spare"], sampling["seed"])
    images["sha256"] = digests(folder, images["file_name"])
    artifacts.write(
        snakemake.output.images, "images", images, seed=sampling["seed"], code=params.code
    )

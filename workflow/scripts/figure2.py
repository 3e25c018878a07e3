from job import job
from open_images import open_images
from open_model import open_family

from headimpact import artifacts
from headimpact.dataset.masks import decode
from headimpact.report import figures
from headimpact.scores.coverage import mask_tokens

with job(snakemake) as job:
    params = job.params
    samples = job.samples().set_index("sample_id")
    objects = job.objects().set_index("object_id")
    tokens = artifacts.read(job.input.tokens, "tokens")
    covered = [mask_tokens(row, params.mask_share).sum() for row in tokens["coverage"]]
    # the object of median size among those that cover a token: neither a speck nor a backdrop
    ranked = sorted(range(len(covered)), key=covered.__getitem__)
    ranked = [i for i in ranked if covered[i]] or ranked
    chosen = tokens.iloc[ranked[len(ranked) // 2]]
    item = objects.loc[chosen["object_id"]]
    sample = samples.loc[item["sample_id"]]
    size = int(sample["width"]), int(sample["height"])
    family, _ = open_family(job)
    grid = family.grid(*size)
    image = open_images(job, samples.loc[[item["sample_id"]]]).image(sample["file_name"])
    title = f"“{item['description']}” on the token grid of {params.title}"
    mask = decode(item["mask"], size[1], size[0])
    figure = figures.figure2(
        image, mask, grid.rectangles, chosen["coverage"], params.mask_share, title, grid.spans
    )
    figures.save(figure, [job.output.svg, job.output.png])

from job import job

from headimpact import artifacts
from headimpact.dataset.coco import CocoFolder
from headimpact.dataset.masks import decode
from headimpact.dataset.unchanged import check_unchanged
from headimpact.models.load import load_family
from headimpact.models.locate import locate
from headimpact.report import figures
from headimpact.scores.head_impact import mask_tokens

with job(snakemake):
    params = snakemake.params
    samples = artifacts.read(snakemake.input.samples, "samples").set_index("sample_id")
    objects = artifacts.read(snakemake.input.objects, "objects").set_index("object_id")
    tokens = artifacts.read(snakemake.input.tokens, "tokens")
    held = [mask_tokens(row, params.mask_share).sum() for row in tokens["coverage"]]
    # the object of middling size among those that a token holds: neither a speck nor a backdrop
    ranked = sorted(range(len(held)), key=held.__getitem__)
    ranked = [i for i in ranked if held[i]] or ranked
    chosen = tokens.iloc[ranked[len(ranked) // 2]]
    item = objects.loc[chosen["object_id"]]
    sample = samples.loc[item["sample_id"]]
    size = int(sample["width"]), int(sample["height"])
    folder, _ = locate(params.model, snakemake.input.get("checkpoint"))
    grid = load_family(folder).grid(*size)
    images = CocoFolder(**params.root)
    check_unchanged(images, samples.loc[[item["sample_id"]]])
    image = images.image(sample["file_name"])
    title = f"“{item['description']}” on the token grid of {params.title}"
    mask = decode(item["mask"], size[1], size[0])
    figure = figures.figure2(
        image, mask, grid.rectangles, chosen["coverage"], params.mask_share, title, grid.spans
    )
    figures.save(figure, [snakemake.output.svg, snakemake.output.png])

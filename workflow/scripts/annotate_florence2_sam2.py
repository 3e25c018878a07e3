from job import job

from headimpact import artifacts
from headimpact.annotate.florence2 import Grounder
from headimpact.annotate.grounding import annotate
from headimpact.annotate.sam2 import Segmenter
from headimpact.dataset.coco import CocoFolder
from headimpact.dataset.unchanged import check_unchanged
from headimpact.models.locate import locate

with job(snakemake):
    params = snakemake.params
    images = artifacts.read(snakemake.input.images, "images").query("annotator == 'florence2_sam2'")
    mine = images.iloc[int(snakemake.wildcards.shard) :: params.shards]
    folder = CocoFolder(**params.root)
    check_unchanged(folder, mine)
    grounder, grounds = locate(params.grounder, snakemake.input.get("grounder"))
    segmenter, segments = locate(params.segmenter, snakemake.input.get("segmenter"))
    annotations, dropped = annotate(
        folder,
        mine,
        Grounder(grounder, grounds["device"]),
        Segmenter(segmenter, segments["device"]),
        # no param: how many at once changes no result
        snakemake.config["studies"][snakemake.wildcards.study]["annotator"]["batch"],
    )
    record = {
        "annotator": "florence2_sam2",
        "grounder": grounds,
        "segmenter": segments,
        "code": params.code,
    }
    artifacts.write(snakemake.output.annotations, "annotations", annotations, **record)
    artifacts.write(snakemake.output.dropped, "dropped", dropped, **record)

from job import job

from headimpact import artifacts
from headimpact.annotate.release import annotate
from headimpact.dataset.coco import CocoFolder
from headimpact.dataset.release import Release
from headimpact.dataset.unchanged import check_unchanged

with job(snakemake):
    params = snakemake.params
    images = artifacts.read(snakemake.input.images, "images").query("annotator == 'release'")
    mine = images.iloc[int(snakemake.wildcards.shard) :: params.shards]
    folder = CocoFolder(**params.root)
    check_unchanged(folder, mine)
    release = Release(snakemake.input.release)
    annotations, dropped = annotate(folder, mine, release)
    record = {"annotator": "release", "release": params.commit, "code": params.code}
    artifacts.write(snakemake.output.annotations, "annotations", annotations, **record)
    artifacts.write(snakemake.output.dropped, "dropped", dropped, **record)

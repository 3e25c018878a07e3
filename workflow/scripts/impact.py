from job import job

from headimpact import artifacts
from headimpact.scores.head_impact import measure

with job(snakemake):
    params = snakemake.params
    impact, scores, unseen = measure(
        artifacts.read(snakemake.input.samples, "samples"),
        artifacts.read(snakemake.input.objects, "objects"),
        artifacts.read(snakemake.input.tokens, "tokens"),
        artifacts.read_all(snakemake.input.attended, "attended"),
        params.mask_share,
        params.average_over,
    )
    record = {
        "checkpoint": artifacts.provenance(snakemake.input.attended[0])["model"],
        "study": snakemake.wildcards.study,
        "model": snakemake.wildcards.model,
        "mask_share": params.mask_share,
        "average_over": params.average_over,
        "unseen_objects": len(unseen),
        "code": params.code,
    }
    artifacts.write(snakemake.output.impact, "impact", impact, **record)
    artifacts.write(snakemake.output.scores, "head_scores", scores, **record)
    unseen.to_csv(snakemake.output.unseen, index=False)

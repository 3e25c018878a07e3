import pandas as pd
from job import job

from headimpact import artifacts, registry
from headimpact.scores.inputs import ScoreInputs, scores_table
from headimpact.scores.nulls import nulls_table

with job(snakemake) as job:
    settings, untrained = job.params.score, job.input.get("untrained")
    inputs = ScoreInputs(
        samples=job.samples("impact"),
        objects=job.objects(),
        tokens=artifacts.read(job.input.tokens, "tokens"),
        attention=artifacts.read_all(job.input.attention, "attention"),
        shifted=artifacts.read(job.input.shifted, "shifted_tokens"),
        untrained=artifacts.read_all(untrained, "attention") if untrained else None,
    )
    nulls = registry.SCORES[settings["kind"]].nulls.load()(inputs, **settings["options"])
    heads = pd.concat(scores_table(name, null.scores) for name, null in nulls.items())
    job.write(job.output.heads, "scores", heads, settings=settings)
    nulls_table(nulls).to_csv(job.output.means, index=False)

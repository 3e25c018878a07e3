import pandas as pd
from job import job
from open_score_inputs import open_score_inputs

from headimpact import artifacts, registry
from headimpact.scores.inputs import scores_table
from headimpact.scores.nulls import nulls_table

with job(snakemake) as job:
    settings, untrained = job.params.score, job.input.get("untrained")
    inputs = open_score_inputs(job)
    inputs.shifted = artifacts.read(job.input.shifted, "shifted_tokens")
    if untrained:
        inputs.untrained = artifacts.read_all(untrained, "attention")
    nulls = registry.SCORES[settings["kind"]].nulls.load()(inputs, **settings["options"])
    heads = pd.concat(scores_table(name, null.scores) for name, null in nulls.items())
    job.write(job.output.heads, "scores", heads, settings=settings)
    nulls_table(nulls).to_csv(job.output.means, index=False)

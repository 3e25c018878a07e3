from job import job

from headimpact import artifacts
from headimpact.models.load import load_family
from headimpact.tokens import object_tokens

with job(snakemake):
    model = snakemake.params.model
    table = object_tokens(
        load_family(model["checkpoint"], model["revision"]),
        artifacts.read(snakemake.input.samples, "samples").query("split == 'impact'"),
        artifacts.read(snakemake.input.objects, "objects"),
    )
    artifacts.write(
        snakemake.output.tokens, "tokens", table, model=model, code=snakemake.params.code
    )

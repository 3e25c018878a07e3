from job import job

from headimpact import artifacts
from headimpact.models.load import load_family
from headimpact.models.locate import locate
from headimpact.scores.coverage import object_tokens

with job(snakemake):
    folder, identity = locate(snakemake.params.model, snakemake.input.get("checkpoint"))
    table = object_tokens(
        load_family(folder),
        artifacts.read(snakemake.input.samples, "samples").query("split == 'impact'"),
        artifacts.read(snakemake.input.objects, "objects"),
    )
    artifacts.write(
        snakemake.output.tokens, "tokens", table, model=identity, code=snakemake.params.code
    )

from job import job

from headimpact import artifacts
from headimpact.layers import choose, layer_scores
from headimpact.tables import table3

with job(snakemake):
    params, layers = snakemake.params, {}
    for title, setups, path in zip(
        params.titles, params.setups, snakemake.input.scores, strict=True
    ):
        means = layer_scores(artifacts.read(path, "head_scores"))
        layers[title] = {
            (setup, draw): choose(setups[setup], len(means), means, draw, params.layer_seed)
            for setup, draw in params.runs
        }
    table3(layers).to_csv(snakemake.output.table, index=False)

from job import job

from headimpact import artifacts
from headimpact.report.tables import table3
from headimpact.scores.layers import choose, layer_scores

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

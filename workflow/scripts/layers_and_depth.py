import json
from pathlib import Path

from job import job

from headimpact import artifacts
from headimpact.report.depth import layers_and_depth

with job(snakemake) as job:
    titles, ranked_by = job.params.titles, job.params.top_setups
    score_files, layer_files = iter(job.input.scores), iter(job.input.layers)
    scores = {
        title: {name: artifacts.read(next(score_files), "scores") for name in job.params.scores}
        for title in titles
    }
    layers = {
        title: {
            setup: json.loads(Path(next(layer_files)).read_bytes())["layers"] for setup in ranked_by
        }
        for title in titles
    }
    layers_and_depth(scores, layers, ranked_by).to_csv(job.output.table, index=False)

from pathlib import Path

from job import job
from open_layers import open_layers

from headimpact import artifacts
from headimpact.report.depth import layers_and_depth, table3_markdown
from headimpact.report.tables import table3

with job(snakemake) as job:
    params, layers = job.params, open_layers(job)
    score_files = iter(job.input.get("scores", []))
    table = table3(layers, params.top_setup)
    table.to_csv(job.output.table, index=False)
    scores = {}
    if params.top_score is not None:
        for title in params.titles:
            scores[title] = {params.top_score: artifacts.read(next(score_files), "scores")}
    top_layers = {
        title: {params.top_setup: runs.get((params.top_setup, 0))} for title, runs in layers.items()
    }
    depth = layers_and_depth(scores, top_layers, {params.top_setup: params.top_score})
    text = table3_markdown(table, depth, params.top_score)
    Path(job.output.markdown).write_text(text, encoding="utf-8")

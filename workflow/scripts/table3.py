import json
from pathlib import Path

from job import job

from headimpact.report.tables import table3

with job(snakemake) as job:
    files = iter(job.input.layers)
    layers = {
        title: {
            (setup, draw): json.loads(Path(next(files)).read_bytes())["layers"]
            for setup, draw in job.params.draws
        }
        for title in job.params.titles
    }
    table3(layers).to_csv(job.output.table, index=False)

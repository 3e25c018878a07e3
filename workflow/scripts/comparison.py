from pathlib import Path

import pandas as pd
from job import job

from headimpact import artifacts
from headimpact.report.comparison import compare, impact_interval

with job(snakemake):
    params, read = snakemake.params, snakemake.input
    # a layer alone would be read as a number
    tables = {
        name: pd.read_csv(read[name], dtype={"layers": str} if name == "table3" else None)
        for name in ("table1", "table2", "table3", "table4", "table5")
    }
    objects = artifacts.read(read.objects, "objects")
    intervals = {
        title: impact_interval(artifacts.read(path, "impact"), objects, params.average_over)
        for title, path in zip(params.titles, read.impact, strict=True)
        if title in params.names
    }
    table = compare(Path(read.published[0]).parent, params.names, tables, intervals)
    table.to_csv(snakemake.output.comparison, index=False)

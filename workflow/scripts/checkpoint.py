import json
from pathlib import Path

from job import job

from headimpact.fetch.hub import fetch

with job(snakemake) as job:
    wildcards = job.wildcards
    revision = None if wildcards.revision == "main" else wildcards.revision
    record = fetch(f"{wildcards.organisation}/{wildcards.name}", revision)
    Path(job.output.record).write_text(json.dumps(record, indent=1), encoding="utf-8")

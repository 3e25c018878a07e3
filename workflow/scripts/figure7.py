import pandas as pd
from job import job

from headimpact.report.figure7 import figure7
from headimpact.report.figures import save

with job(snakemake) as job:
    save(figure7(pd.read_csv(job.input.curves)), [job.output.svg, job.output.png])

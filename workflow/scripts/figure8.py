from job import job

from headimpact import artifacts
from headimpact.report.figures import save
from headimpact.report.knockout import figure8, knockout_table

with job(snakemake) as job:
    titles, files, knockouts = job.params.titles, job.input.knockouts, {}
    shards = len(files) // len(titles)
    for number, title in enumerate(titles):
        of_model = files[number * shards : (number + 1) * shards]
        knockouts[title] = artifacts.read_all(of_model, "knockouts")
    table = knockout_table(knockouts, job.objects())
    table.to_csv(job.output.table, index=False)
    save(figure8(table), [job.output.svg, job.output.png])

from job import job
from open_checkpoint import open_checkpoint

from headimpact import registry
from headimpact.models.load import count_parameters, family_class
from headimpact.report.tables import table1, table5

with job(snakemake) as job:
    params, records = job.params, iter(job.input.get("fetched") or [])
    method = registry.METHODS[params.method["kind"]].load()
    sizes, trainable = {}, {}
    for entry in params.models:
        source = entry["configuration"]
        if source is None:
            record = next(records) if entry["identity"] is None else None
            source, _ = open_checkpoint(entry, record)
        model, counts = count_parameters(source)
        sizes[entry["title"]] = counts
        layers = range(params.layers or counts["layers"])
        family = family_class(model.config, source)
        adapted = method(model, family, layers, **params.method["options"])
        trained, total = adapted.get_nb_trainable_parameters()
        trainable[entry["title"]] = {"total": total, "trainable": trained}
    table1(sizes).to_csv(job.output.table1, index=False)
    table5(trainable).to_csv(job.output.table5, index=False)

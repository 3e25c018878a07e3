from job import job

from headimpact.models.load import count_parameters, family_of
from headimpact.models.locate import locate
from headimpact.report.tables import table1, table5
from headimpact.training.lora import add_adapter

with job(snakemake):
    params = snakemake.params
    sizes, trainable = {}, {}
    for entry in params.models:
        source = entry["configuration"]
        if source is None:
            source, _ = locate(entry, entry["fetched"])
        model, counts = count_parameters(source)
        sizes[entry["title"]] = counts
        layers = range(params.layers or counts["layers"])
        adapted = add_adapter(model, family_of(model.config, source), layers, params.lora)
        trained, total = adapted.get_nb_trainable_parameters()
        trainable[entry["title"]] = {"total": total, "trainable": trained}
    table1(sizes).to_csv(snakemake.output.table1, index=False)
    table5(trainable).to_csv(snakemake.output.table5, index=False)

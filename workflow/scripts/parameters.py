from job import job

from headimpact.finetune import add_adapter
from headimpact.models.load import FAMILIES, count_parameters
from headimpact.tables import table1, table5

with job(snakemake):
    params = snakemake.params
    top = next((setup for setup in params.setups.values() if setup["layers"] == "top"), None)
    sizes, trainable = {}, {}
    for entry in params.models.values():
        model, counts = count_parameters(entry["checkpoint"], entry["revision"])
        sizes[entry["title"]] = counts
        layers = range(top["count"] if top else counts["layers"])
        adapted = add_adapter(model, FAMILIES[model.config.model_type], layers, params.lora)
        trained, total = adapted.get_nb_trainable_parameters()
        trainable[entry["title"]] = {"total": total, "trainable": trained}
    table1(sizes).to_csv(snakemake.output.table1, index=False)
    table5(trainable).to_csv(snakemake.output.table5, index=False)

# The graph of headimpact. The path selects the study: results/{study}/table4.csv


include: "workflow/common/start.smk"
include: "workflow/common/scheduling.smk"


configfile: "config.yaml"


include: "workflow/common/studies.smk"
include: "workflow/common/provenance.smk"
include: "workflow/rules/fetch.smk"
include: "workflow/rules/data.smk"
include: "workflow/rules/annotate.smk"
include: "workflow/rules/interventions.smk"
include: "workflow/rules/scores.smk"
include: "workflow/rules/faithfulness.smk"
include: "workflow/rules/finetune.smk"
include: "workflow/rules/evaluate.smk"
include: "workflow/rules/knockout.smk"
include: "workflow/rules/score_tables.smk"
include: "workflow/rules/tables.smk"
include: "workflow/rules/figures.smk"
include: "workflow/rules/miniature.smk"


rule all:
    default_target: True
    input:
        expand("results/table{number}.csv", number=range(1, 6)),
        "results/table3.md",
        "results/table4.md",
        "results/layers_and_depth.csv",
        expand("results/table4_shifts.{kind}", kind=("csv", "md")),
        "results/table4_ranks.csv",
        expand(
            "results/figure{number}.{kind}",
            number=CONFIG.studies[CONFIG.default_study].figures,
            kind=("svg", "png"),
        ),
        expand(
            "results/figure_{score}.{kind}",
            score=CONFIG.studies[CONFIG.default_study].head_scores[1:],
            kind=("svg", "png"),
        ),
        "results/nulls.csv",
        "results/top_stability.csv",


onstart:
    check_access_to_checkpoints()
    lift_default_job_limit()


onsuccess:
    write_provenance()
    report_study()


onerror:
    write_provenance()

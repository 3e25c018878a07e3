# The paper's five tables, for each study, and the default study's under their short names.


rule parameters:
    input:
        fetched=ask("fetched_to_count"),
    output:
        table1=report(
            "results/{study}/table1.csv",
            caption="../report/table1.rst",
            category="{study}",
            labels={"item": "Table 1"},
        ),
        table5=report(
            "results/{study}/table5.csv",
            caption="../report/table5.rst",
            category="{study}",
            labels={"item": "Table 5"},
        ),
    log:
        "results/{study}/logs/parameters.log",
    benchmark:
        "results/{study}/benchmarks/parameters.tsv"
    localrule: True
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=2000,
        runtime=10,
    params:
        models=ask("counted_models"),
        layers=setting("counted_layers"),
        method=ask("counted_method"),
        code=code("parameters", all_model_families, counted_method_entry),
    script:
        "../scripts/parameters.py"


rule table4:
    input:
        answers=ask("answers_of_runs"),
        questions=rules.questions.output.questions,
        layers=ask("layers_of_draws"),
    output:
        table=report(
            "results/{study}/table4.csv",
            caption="../report/table4.rst",
            category="{study}",
            labels={"item": "Table 4"},
        ),
        markdown="results/{study}/table4.md",
        shifts=report(
            "results/{study}/table4_shifts.csv",
            caption="../report/table4_shifts.rst",
            category="{study}",
            labels={"item": "Table 4: paired shifts"},
        ),
        shifts_markdown=report(
            "results/{study}/table4_shifts.md",
            caption="../report/table4_shifts.rst",
            category="{study}",
            labels={"item": "Table 4: paired shifts, to read"},
        ),
        ranks=report(
            "results/{study}/table4_ranks.csv",
            caption="../report/table4_ranks.rst",
            category="{study}",
            labels={"item": "Table 4: ranks among random draws"},
        ),
        draws="results/{study}/table4_draws.csv",
        labels="results/{study}/table4_labels.csv",
    log:
        "results/{study}/logs/table4.log",
    benchmark:
        "results/{study}/benchmarks/table4.tsv"
    localrule: True
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        titles=setting("titles"),
        runs=ask("runs"),
        draws=ask("draws"),
        top_setups=setting("compared_setups"),
        ranked_setups=ask("ranked_setups"),
        metrics=ask("metrics"),
        code=code("table4", metric_entries),
    script:
        "../scripts/table4.py"


rule comparison:
    input:
        table1=rules.parameters.output.table1,
        table2=rules.table2.output.table,
        table3=rules.table3.output.table,
        table4=rules.table4.output.table,
        table5=rules.parameters.output.table5,
        tokens=ask("of_models", file="tokens.parquet"),
        attention=ask("attention_of", models=None, folder="attention"),
        samples=rules.samples.output.samples,
        objects=rules.samples.output.objects,
        published=multiext(
            "resources/published/table", "1.csv", "2_corrected.csv", "3.csv", "4.csv", "5.csv"
        ),
    output:
        comparison=report(
            "results/{study}/comparison.csv",
            caption="../report/comparison.rst",
            category="{study}",
            labels={"item": "Beside the paper"},
        ),
    log:
        "results/{study}/logs/comparison.log",
    benchmark:
        "results/{study}/benchmarks/comparison.tsv"
    localrule: True
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=4000,
        runtime=20,
    params:
        titles=setting("titles"),
        names=ask("published_names"),
        score=ask("resampled_score"),
        code=code("comparison", first_score_entry),
    script:
        "../scripts/comparison.py"


rule default_table:
    input:
        f"results/{CONFIG.default_study}/{{table}}.{{kind}}",
    output:
        "results/{table}.{kind}",
    log:
        "results/logs/{table}.{kind}.log",
    wildcard_constraints:
        table=r"table\d+\w*|nulls|top_stability|layers_and_depth",
        kind="csv|md",
    localrule: True
    conda:
        "../../envs/headimpact.yaml"
    shell:
        "cp {input:q} {output:q} 2> {log:q}"

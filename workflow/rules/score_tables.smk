# Tables 2 and 3 of the paper, and what holds scores and top layers against chance and depth.


rule table2:
    input:
        scores=ask("head_scores"),
        tokens=ask("of_models", file="tokens.parquet"),
        objects=rules.samples.output.objects,
    output:
        uncovered="results/{study}/uncovered.csv",
        coverage=report(
            "results/{study}/table2_coverage.csv",
            caption="../report/table2_coverage.rst",
            category="{study}",
            labels={"item": "Table 2: objects without a token"},
        ),
        table=report(
            "results/{study}/table2.csv",
            caption="../report/table2.rst",
            category="{study}",
            labels={"item": "Table 2"},
        ),
    log:
        "results/{study}/logs/table2.log",
    benchmark:
        "results/{study}/benchmarks/table2.tsv"
    localrule: True
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        titles=setting("titles"),
        scores=ask("score_titles", per="head"),
        mask_share=setting("mask_share"),
        code=code("table2"),
    script:
        "../scripts/table2.py"


rule null_table:
    input:
        means=ask("tables_of_nulls"),
    output:
        table=report(
            "results/{study}/nulls.csv",
            caption="../report/nulls.rst",
            category="{study}",
            labels={"item": "Head Impact beside nulls"},
        ),
    log:
        "results/{study}/logs/null_table.log",
    benchmark:
        "results/{study}/benchmarks/null_table.tsv"
    localrule: True
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        titles=setting("titles"),
        code=code("null_table"),
    script:
        "../scripts/null_table.py"


rule top_stability:
    input:
        tokens=ask("of_models", file="tokens.parquet"),
        attention=ask("attention_of", models=None, folder="attention"),
        samples=rules.samples.output.samples,
        objects=rules.samples.output.objects,
    output:
        table=report(
            "results/{study}/top_stability.csv",
            caption="../report/top_stability.rst",
            category="{study}",
            labels={"item": "How stable the top layers are"},
        ),
    log:
        "results/{study}/logs/top_stability.log",
    benchmark:
        "results/{study}/benchmarks/top_stability.tsv"
    localrule: True
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=8000,
        runtime=20,
    params:
        titles=setting("titles"),
        scores=ask("scores_of_top_setups"),
        code=code("top_stability", resampled_score_entries),
    script:
        "../scripts/top_stability.py"


rule known_answer:
    input:
        unpack(ask("known_answer_inputs")),
    output:
        table=report(
            "results/{study}/known_answer.csv",
            caption="../report/known_answer.rst",
            category="{study}",
            labels={"item": "Scores beside a known answer"},
        ),
    log:
        "results/{study}/logs/known_answer.log",
    benchmark:
        "results/{study}/benchmarks/known_answer.tsv"
    localrule: True
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        titles=ask("known_answers"),
        scores=ask("settings_of_scores"),
        code=code("known_answer"),
    script:
        "../scripts/known_answer.py"


rule table3:
    input:
        layers=ask("layers_of_draws"),
        scores=ask("top_scores"),
    output:
        table=report(
            "results/{study}/table3.csv",
            caption="../report/table3.rst",
            category="{study}",
            labels={"item": "Table 3"},
        ),
        markdown="results/{study}/table3.md",
    log:
        "results/{study}/logs/table3.log",
    benchmark:
        "results/{study}/benchmarks/table3.tsv"
    localrule: True
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        titles=setting("titles"),
        draws=ask("draws"),
        top_setup=setting("top_setup"),
        top_score=ask("top_score_title"),
        code=code("table3"),
    script:
        "../scripts/table3.py"


rule layers_and_depth:
    input:
        scores=ask("all_scores", models=None),
        layers=ask("layers_of_top_setups"),
    output:
        table=report(
            "results/{study}/layers_and_depth.csv",
            caption="../report/layers_and_depth.rst",
            category="{study}",
            labels={"item": "Table 3: layers and depth"},
        ),
    log:
        "results/{study}/logs/layers_and_depth.log",
    benchmark:
        "results/{study}/benchmarks/layers_and_depth.tsv"
    localrule: True
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        titles=setting("titles"),
        scores=ask("score_titles", per=None),
        top_setups=ask("top_setups"),
        code=code("layers_and_depth"),
    script:
        "../scripts/layers_and_depth.py"


rule table6:
    input:
        unpack(ask("table6_files")),
        samples=rules.samples.output.samples,
    output:
        table=report(
            "results/{study}/table6.csv",
            caption="../report/table6.rst",
            category="{study}",
            labels={"item": "Table 6: scores side by side"},
        ),
        markdown="results/{study}/table6.md",
    log:
        "results/{study}/logs/table6.log",
    benchmark:
        "results/{study}/benchmarks/table6.tsv"
    localrule: True
    conda:
        "../../envs/headimpact.yaml"
    threads: 1
    resources:
        mem_mb=1000,
        runtime=5,
    params:
        titles=setting("titles"),
        scores=ask("settings_of_scores"),
        top_count=ask("top_count"),
        attribution=ask("attribution_title"),
        trained=ask("trained_setups"),
        jobs=ask("jobs_of_scores"),
        attention_jobs=ask("attention_jobs"),
        metrics=ask("metrics"),
        code=code("table6", metric_entries),
    script:
        "../scripts/table6.py"

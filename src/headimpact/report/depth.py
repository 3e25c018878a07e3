"""Whether top layers are simply the first ones: layer scores by depth, and the text of Table 3."""

import pandas as pd

from headimpact.scores.layers import layer_scores

SIGNIFICANT = 0.05  # the p-value below which the text says that a score falls or rises


def layers_and_depth(
    scores: dict[str, dict[str, pd.DataFrame]],
    layers: dict[str, dict[str, list[int]]],
    ranked_by: dict[str, str],
) -> pd.DataFrame:
    """The rank correlation of layer scores with the layer's index, and the top layers by them.

    scores: {title: {score: table of kind "scores"}}. layers: {title: {top setup: its layers}}.
    ranked_by: {top setup: the score that ranks its layers}. Returns a row for each model, score
    and top setup by that score; a score without a top setup has one row. The columns `rho` and
    `p_value` are Spearman's, `among_first` counts those of the setup's layers that are among as
    many first layers.
    """
    rows = []
    for title, tables in scores.items():
        for score, table in tables.items():
            values = layer_scores(table)
            rho, p_value = _correlate_with_index(values)
            for setup in [name for name, by in ranked_by.items() if by == score] or [None]:
                top, among_first = None, None
                if setup is not None:
                    top = layers[title][setup]
                    among_first = sum(layer < len(top) for layer in top)
                    top = ", ".join(map(str, top))
                rows.append((title, score, len(values), rho, p_value, setup, top, among_first))
    columns = ["model", "score", "layers", "rho", "p_value", "setup", "setup_layers", "among_first"]
    return pd.DataFrame(rows, columns=columns).astype({"among_first": "Int64"})


def _correlate_with_index(values):
    """Spearman's rho and its p-value; nan for fewer than three values, or for equal ones."""
    from scipy.stats import spearmanr  # The import takes half a second, and few callers need it.

    if len(values) < 3 or len(set(values)) == 1:
        return float("nan"), float("nan")
    test = spearmanr(values, range(len(values)))
    return float(test.statistic), float(test.pvalue)


def table3_markdown(table: pd.DataFrame, depth: pd.DataFrame, score_title: str | None) -> str:
    """Table 3 in Markdown, and a line for each row of `depth`.

    table: what `table3` returns. depth: what `layers_and_depth` returns for the score of the first
    top setup, no rows if there is none. score_title: that score's name in a sentence.
    """
    cells = table.astype("string").fillna("")
    lines = ["| " + " | ".join(table.columns) + " |", "|" + " --- |" * len(table.columns)]
    lines += ["| " + " | ".join(row) + " |" for row in cells.to_numpy()]
    if len(depth):
        lines.append("")
    for row in depth.itertuples():
        count = row.setup_layers.count(",") + 1
        lines.append(
            f"- {row.model}: {score_title} {_describe_correlation(row)}: {row.setup} shares "
            f"{row.among_first} of its {count} layers with the first {count}."
        )
    return "\n".join(lines) + "\n"


def _describe_correlation(row):
    if pd.isna(row.rho):
        return f"has no rank correlation with depth over {row.layers} layers"
    if row.p_value < SIGNIFICANT:
        direction = "falls with depth" if row.rho < 0 else "rises with depth"
    else:
        direction = "neither clearly falls nor rises with depth"
    p = "below 0.001" if row.p_value < 0.001 else f"{row.p_value:.3f}"
    return f"{direction} (Spearman's rho {row.rho:.2f} over {row.layers} layers, p {p})"

"""The paper's five tables, from artifacts; no model is run."""

import numpy as np
import pandas as pd

from headimpact.guards import UserError
from headimpact.models.prompts import LABELS
from headimpact.statistics import clustered_error, kruskal, perplexity

METRICS = {"accuracy": "Accuracy", "answer_probability": "AnsProb", "perplexity": "Perplexity"}
ARROWS = {"Accuracy": "↑", "AnsProb": "↑", "Perplexity": "↓"}


def table1(counts):
    """Configurations of the models; counts: {title: parameters, layers, heads (dict)}."""
    return pd.DataFrame(
        [
            {
                "model": title,
                "parameters": count["parameters"],
                "layers": count["layers"],
                "attention_heads": count["heads"],
            }
            for title, count in counts.items()
        ]
    )


def table2(scores):
    """Kruskal-Wallis test on Head Impact; scores: {title: head_scores table}."""
    columns = {"quantity": ["statistic", "p_value", "degrees_of_freedom"]}
    for title, table in scores.items():
        matrix = table.pivot(index="layer", columns="head", values="value").to_numpy()
        for name, test in kruskal(matrix).items():
            columns[f"{title} {name}"] = [test[quantity] for quantity in columns["quantity"]]
    return pd.DataFrame(columns)


def table3(layers):
    """Trained layers; layers: {title: {(setup, draw): list of int}}."""
    return pd.DataFrame(
        [
            {"model": title, "setup": setup, "draw": draw, "layers": ", ".join(map(str, chosen))}
            for title, runs in layers.items()
            for (setup, draw), chosen in runs.items()
        ]
    )


def item_values(metrics, answer_probability):
    """What each test item counts for each metric (dict of float (items,)), and its image.

    metrics: a table of kind "metrics". answer_probability: "labels", the right answer's share
    of the four labels' probability, or "vocabulary", its probability. Perplexity counts an
    item's mean loss a token.
    """
    metrics = metrics.sort_values("object_id")
    shares = metrics[[f"p_{label}" for label in LABELS]].to_numpy()
    answers = metrics["answer"].map(LABELS.index).to_numpy()
    right = shares[np.arange(len(metrics)), answers]
    if answer_probability == "labels":
        right = right / shares.sum(1)
    values = {
        "accuracy": (metrics["answer"] == metrics["chosen"]).to_numpy(dtype=float),
        "answer_probability": right,
        "perplexity": (metrics["nll"] / metrics["tokens"]).to_numpy(),
    }
    return values, metrics["sample_id"].to_numpy()


def _summary(metric, values, clusters):
    if metric == "perplexity":
        return perplexity(values, clusters)
    return float(np.mean(values)), clustered_error(values, clusters)


def table4_draws(metrics, answer_probability):
    """Every setup and draw with its metrics; metrics: {title: {(setup, draw): table}}."""
    rows = []
    for title, runs in metrics.items():
        for (setup, draw), table in runs.items():
            items, clusters = item_values(table, answer_probability)
            for metric, values in items.items():
                value, error = _summary(metric, values, clusters)
                rows.append(
                    {
                        "model": title,
                        "setup": setup,
                        "draw": draw,
                        "metric": METRICS[metric],
                        "value": value,
                        "error": error,
                        "items": len(values),
                    }
                )
    return pd.DataFrame(rows)


def table4(metrics, answer_probability):
    """Table 4: a row a model and metric, for each setup its value and standard error.

    metrics: {title: {(setup, draw): table of kind "metrics"}}. A setup with several draws shows
    their mean; its error joins that of the items, averaged over the draws, and that of the
    draws: sqrt(items' error^2 + (standard deviation of the draws)^2 / draws). Items are matched
    by object_id. Perplexity is the mean of the draws' perplexities; its items' error is by the
    delta method on each item's token loss, averaged over the draws.
    Raises ValueError if two runs of a model are of other test items.
    """
    rows = []
    for title, runs in metrics.items():
        items = {run: item_values(table, answer_probability) for run, table in runs.items()}
        ids = [sorted(table["object_id"]) for table in runs.values()]
        if any(other != ids[0] for other in ids):
            raise UserError(f"{title}: setups were evaluated on other items; evaluate all again")
        for metric, name in METRICS.items():
            row = {"model": title, "metric": name}
            for setup in dict.fromkeys(setup for setup, _ in runs):
                draws = [values[metric] for (s, _), (values, _) in items.items() if s == setup]
                clusters = next(groups for (s, _), (_, groups) in items.items() if s == setup)
                each = [_summary(metric, values, clusters)[0] for values in draws]
                _, error = _summary(metric, np.mean(draws, axis=0), clusters)
                if len(draws) > 1:
                    error = float(np.hypot(error, np.std(each, ddof=1) / np.sqrt(len(draws))))
                row[setup], row[f"{setup}_error"] = float(np.mean(each)), error
            rows.append(row)
    return pd.DataFrame(rows)


def table4_markdown(table):
    """Table 4 (see `table4`) as the paper prints it, in Markdown (str).

    In each row the setup that lies furthest from `original` is bold, all of them where several
    do; none where nothing moved.
    """
    setups = list(table.columns[2::2])  # each has its error beside it
    lines = [
        "| " + " | ".join(["model", "metric", *setups]) + " |",
        "|" + " --- |" * (len(setups) + 2),
    ]
    for _, row in table.iterrows():
        shifts = {s: abs(row[s] - row["original"]) for s in setups} if "original" in setups else {}
        largest = max(shifts.values(), default=0)
        cells = []
        for setup in setups:
            text = f"{row[setup]:.2f} ± {row[f'{setup}_error']:.2f}"
            # means of equal draws differ in the last bit, and so do equal shifts
            moved = largest > 1e-9 and shifts[setup] > largest - 1e-9
            cells.append(f"**{text}**" if moved else text)
        metric = f"{row['metric']} {ARROWS[row['metric']]}"
        lines.append("| " + " | ".join([row["model"], metric, *cells]) + " |")
    return "\n".join(lines) + "\n"


def label_shares(metrics):
    """How often each label was chosen, beside accuracy and chance; metrics as in `table4`."""
    return pd.DataFrame(
        [
            {
                "model": title,
                "setup": setup,
                "draw": draw,
                **{f"share_{x}": float((table["chosen"] == x).mean()) for x in LABELS},
                "accuracy": float((table["chosen"] == table["answer"]).mean()),
                "chance": 1 / len(LABELS),
            }
            for title, runs in metrics.items()
            for (setup, draw), table in runs.items()
        ]
    )


def table5(counts):
    """Parameters in fine-tuning; counts: {title: total, trainable (dict)}."""
    return pd.DataFrame(
        [
            {
                "model": title,
                "total": count["total"],
                "trainable": count["trainable"],
                "trainable_percent": round(100 * count["trainable"] / count["total"], 4),
            }
            for title, count in counts.items()
        ]
    )

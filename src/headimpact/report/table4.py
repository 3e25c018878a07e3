"""Table 4 of the paper: every metric of every setup, from what the models said."""

import numpy as np
import pandas as pd

from headimpact.artifacts import LABELS
from headimpact.evaluation.metrics import Metric, most_probable_labels, right_labels
from headimpact.guards import UserError

# {title: {(setup, variant, draw): a table of kind "answers" joined with "questions"}}
Answers = dict[str, dict[tuple[str, str, int], pd.DataFrame]]


def table4_draws(answers: Answers, metrics: dict[str, Metric]) -> pd.DataFrame:
    """Every run with its metrics, a row each.

    answers: {title: {(setup, variant, draw): answers joined with questions}}.
    """
    rows = []
    for title, runs in answers.items():
        for (setup, variant, draw), items in runs.items():
            for metric in metrics.values():
                value, error = metric.aggregate(metric.of_items(items), items["sample_id"])
                rows.append(
                    {
                        "model": title,
                        "setup": setup,
                        "variant": variant,
                        "draw": draw,
                        "metric": metric.title,
                        "value": value,
                        "error": error,
                        "items": len(items),
                    }
                )
    return pd.DataFrame(rows)


def table4(answers: Answers, metrics: dict[str, Metric]) -> pd.DataFrame:
    """Table 4: a row a model and metric, for each setup its value and standard error.

    answers: as in `table4_draws`; only the variant `default` counts. A setup with several draws
    shows their mean; its error joins that of the items, averaged over the draws, and that of the
    draws: sqrt(items' error^2 + (standard deviation of the draws)^2 / draws). Items are matched
    by object_id.
    Raises UserError if two runs of a model are of other test items.
    """
    rows = []
    for title, runs in answers.items():
        runs = {
            (setup, draw): items.sort_values("object_id", ignore_index=True)
            for (setup, variant, draw), items in runs.items()
            if variant == "default"
        }
        first = next(iter(runs.values()))
        if not all(items["object_id"].equals(first["object_id"]) for items in runs.values()):
            raise UserError(f"{title}: runs were evaluated on other items; evaluate all again")
        for metric in metrics.values():
            row = {"model": title, "metric": metric.title}
            for setup in dict.fromkeys(setup for setup, _ in runs):
                draws = [metric.of_items(items) for (s, _), items in runs.items() if s == setup]
                values = [metric.aggregate(draw, first["sample_id"])[0] for draw in draws]
                _, error = metric.aggregate(np.mean(draws, axis=0), first["sample_id"])
                if len(draws) > 1:
                    error = float(np.hypot(error, np.std(values, ddof=1) / np.sqrt(len(draws))))
                row[setup], row[f"{setup}_error"] = float(np.mean(values)), error
            rows.append(row)
    return pd.DataFrame(rows)


def table4_markdown(table: pd.DataFrame, metrics: dict[str, Metric]) -> str:
    """Table 4 (see `table4`) as the paper prints it, in Markdown.

    In each row the setup that lies furthest from `original` is bold, all of them where several
    do; none where nothing moved.
    """
    setups = list(table.columns[2::2])  # each has its error beside it
    headings = {metric.title: metric.heading for metric in metrics.values()}
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
        lines.append("| " + " | ".join([row["model"], headings[row["metric"]], *cells]) + " |")
    return "\n".join(lines) + "\n"


def label_shares(answers: Answers) -> pd.DataFrame:
    """How often each label is the most probable, beside accuracy and chance; see `table4_draws`."""
    rows = []
    for title, runs in answers.items():
        for (setup, variant, draw), items in runs.items():
            chosen = most_probable_labels(items)
            rows.append(
                {
                    "model": title,
                    "setup": setup,
                    "variant": variant,
                    "draw": draw,
                    **{f"share_{x}": float((chosen == i).mean()) for i, x in enumerate(LABELS)},
                    "accuracy": float((chosen == right_labels(items)).mean()),
                    "chance": 1 / len(LABELS),
                }
            )
    return pd.DataFrame(rows)

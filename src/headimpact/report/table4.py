"""Table 4 of the paper: the metrics of every setup, from the models' answers."""

import numpy as np
import pandas as pd

from headimpact.evaluation.metrics import Metric, most_probable_labels, right_labels
from headimpact.guards import UserError
from headimpact.table_kinds import LABELS

# {title: {(setup, variant, draw): a table of kind "answers" joined with "questions"}}
Answers = dict[str, dict[tuple[str, str, int], pd.DataFrame]]

MARKS = (
    "Bold: the largest shift from original. †: larger than the runner-up's on the same test items "
    "(p < 0.05 from sign flips of images, and a 95 % interval over images and draws without 0; for "
    "perplexity of logarithms; not corrected for the number of rows). All shifts: table4_shifts.md."
)


def table4_draws(answers: Answers, metrics: dict[str, Metric]) -> pd.DataFrame:
    """A row for each run and metric.

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


def match_items(
    title: str, runs: dict[tuple[str, str, int], pd.DataFrame]
) -> dict[tuple[str, str, int], pd.DataFrame]:
    """The runs of a model with their items in the same order, that of object_id.

    runs: {(setup, variant, draw): answers joined with questions}. Raises UserError if two runs
    have different test items.
    """
    runs = {run: items.sort_values("object_id", ignore_index=True) for run, items in runs.items()}
    first = next(iter(runs.values()))
    if not all(items["object_id"].equals(first["object_id"]) for items in runs.values()):
        raise UserError(f"{title}: its runs were evaluated on other items; evaluate all again")
    return runs


def table4(answers: Answers, metrics: dict[str, Metric]) -> pd.DataFrame:
    """Table 4: a row for each model and metric, with the value and the error of each setup.

    answers: as in `table4_draws`; only the variant `default` is used. The value of a setup with
    several draws is their mean. Its standard error combines the error over the items, averaged
    over the draws and matched by object_id, and the error over the draws:
    sqrt(items_error^2 + standard_deviation_of_draws^2 / draws). Raises UserError if two runs of a
    model have different test items.
    """
    rows = []
    for title, runs in answers.items():
        runs = {
            (setup, draw): items
            for (setup, variant, draw), items in match_items(title, runs).items()
            if variant == "default"
        }
        images = next(iter(runs.values()))["sample_id"]
        for metric in metrics.values():
            row = {"model": title, "metric": metric.title}
            for setup in dict.fromkeys(setup for setup, _ in runs):
                draws = [metric.of_items(items) for (s, _), items in runs.items() if s == setup]
                values = [metric.aggregate(draw, images)[0] for draw in draws]
                _, error = metric.aggregate(np.mean(draws, axis=0), images)
                if len(draws) > 1:
                    error = float(np.hypot(error, np.std(values, ddof=1) / np.sqrt(len(draws))))
                row[setup], row[f"{setup}_error"] = float(np.mean(values)), error
            rows.append(row)
    return pd.DataFrame(rows)


def table4_markdown(table: pd.DataFrame, metrics: dict[str, Metric], shifts: pd.DataFrame) -> str:
    """Table 4 in Markdown, as the paper prints it, and a line that explains it.

    table: what `table4` returns. In each row the setup that differs most from `original` is bold;
    several are bold if they differ equally, and none if no setup differs. shifts: what
    `shifts.table4_shifts` returns. A bold setup has a mark if its absolute shift is larger than
    the runner-up's: in the row "largest", p is below 0.05 and the interval does not hold 0.
    """
    setups = list(table.columns[2::2])  # A column with the error follows each.
    headings = {metric.title: metric.heading for metric in metrics.values()}
    marked = _clearly_largest(shifts)
    lines = [
        "| " + " | ".join(["model", "metric", *setups]) + " |",
        "|" + " --- |" * (len(setups) + 2),
    ]
    for _, row in table.iterrows():
        changes = {s: abs(row[s] - row["original"]) for s in setups} if "original" in setups else {}
        largest = max(changes.values(), default=0)
        # Equal values may differ in the last bits, after averaging or subtraction.
        bold = [s for s in setups if largest > 1e-9 and changes[s] > largest - 1e-9]
        cells = []
        for setup in setups:
            text = f"{row[setup]:.2f} ± {row[f'{setup}_error']:.2f}"
            is_marked = bold == [setup] and (row["model"], row["metric"], setup) in marked
            text = f"**{text}**" if setup in bold else text
            cells.append(f"{text} †" if is_marked else text)
        lines.append("| " + " | ".join([row["model"], headings[row["metric"]], *cells]) + " |")
    return "\n".join([*lines, "", MARKS]) + "\n"


def _clearly_largest(shifts: pd.DataFrame) -> set[tuple[str, str, str]]:
    """(model, metric, setup) of the rows "largest" in which the setup beats the runner-up."""
    is_clear = (shifts["p_value"] < 0.05) & (shifts["low"] > 0)
    is_largest = (shifts["comparison"] == "largest") & (shifts["variant"] == "default")
    rows = shifts[is_clear & is_largest]
    return set(zip(rows["model"], rows["metric"], rows["setup"], strict=True))


def label_shares(answers: Answers) -> pd.DataFrame:
    """How often each label is the most probable in each run, with the accuracy and chance level.

    answers: as in `table4_draws`.
    """
    rows = []
    for title, runs in answers.items():
        for (setup, variant, draw), items in runs.items():
            predicted = most_probable_labels(items)
            rows.append(
                {
                    "model": title,
                    "setup": setup,
                    "variant": variant,
                    "draw": draw,
                    **{f"share_{x}": float((predicted == i).mean()) for i, x in enumerate(LABELS)},
                    "accuracy": float((predicted == right_labels(items)).mean()),
                    "chance": 1 / len(LABELS),
                }
            )
    return pd.DataFrame(rows)

"""Compares every number that the paper prints with that of this study."""

from pathlib import Path

import numpy as np
import pandas as pd

from headimpact.evaluation.metrics import ACCURACY, ANSWER_PROBABILITY, PERPLEXITY, Metric
from headimpact.guards import UserError
from headimpact.report.published import printed_interval, read

COLUMNS = [
    *("table", "model", "setup", "quantity"),
    *("ours", "low", "high"),
    *("published", "published_error", "inside"),
]
PRINTED_METRICS = {metric.title: metric for metric in (ACCURACY, ANSWER_PROBABILITY, PERPLEXITY)}


def compare(
    folder: str | Path,
    names: dict[str, str],
    tables: dict[str, pd.DataFrame],
    kruskal_intervals: dict[str, dict],
) -> pd.DataFrame:
    """A row for each published number and model of the study, with both values.

    folder: the published tables; of Table 2 the corrected print is compared. names: {title:
    published model}. tables: {"table1" to "table5": DataFrame} of this study. kruskal_intervals:
    {title: what `statistics.kruskal_interval` returns for the score of figures 4 and 5}.

    low and high are the 95 % confidence interval of this study's value: for Table 2 the bootstrap
    interval, for Table 4 from the standard error (for perplexity that of the logarithm, otherwise
    limited to the values that the metric can take), and for counts the value itself. `inside` says
    whether it overlaps the numbers that round to the printed one. In Table 3 a row is a published
    layer, and `inside` says whether the first draw of this study's setup trains it. Values that
    this study does not have, or that are nan, are None. A published model that is not in `names`
    has rows under its own name. Raises UserError if `names` has a model that is not in the paper.
    """
    numbers = _published_numbers(folder)
    models = list(dict.fromkeys(number["model"] for number in numbers))
    for title, name in names.items():
        if name not in models:
            raise UserError(f"{title}: no published model {name}; name one of: {', '.join(models)}")
    rows = []
    for number in numbers:
        titles = [title for title, name in names.items() if name == number["model"]]
        for title in titles:
            values = _study_values(number, title, tables, kruskal_intervals)
            rows.append(number | {"model": title} | values)
        if not titles:
            rows.append(number)
    return pd.DataFrame(rows, columns=COLUMNS, dtype=object)


def _published_numbers(folder: str | Path) -> list[dict]:
    """Every published number as a dict of COLUMNS; the values of this study are None."""
    numbers = []

    def add(table, model, setup, quantity, text, error=""):
        row = (table, model, setup, quantity, None, None, None, text, error, None)
        numbers.append(dict(zip(COLUMNS, row, strict=True)))

    def add_counts(name):
        for row in read(folder, name).to_dict("records"):
            model = row.pop("model")
            for quantity, text in row.items():
                add(name, model, "", quantity, text)

    add_counts("table1")
    tests = read(folder, "table2_corrected").set_index("quantity")
    for column, printed in tests.items():
        model, groups = column.rsplit(" ", 1)
        for quantity, text in printed.items():
            add("table2", model, "", f"{groups} {quantity}", text)
    for row in read(folder, "table3").itertuples():
        for layer in row.layers.split(", "):
            add("table3", row.model, row.setup, "layer", layer)
    metrics = read(folder, "table4")
    for row in metrics.to_dict("records"):
        for setup in metrics.columns[2::2]:
            printed = (row[setup], row[f"{setup}_error"])
            add("table4", row["model"], setup, row["metric"], *printed)
    add_counts("table5")
    return numbers


def _study_values(
    number: dict, title: str, tables: dict[str, pd.DataFrame], kruskal_intervals: dict[str, dict]
) -> dict:
    """The columns ours, low, high and inside of a row, as far as this study has them."""
    name, setup, quantity = number["table"], number["setup"], number["quantity"]
    table, low, high = tables[name], None, None
    if name == "table3":
        lists = _select_rows(table, {"model": title, "setup": setup, "draw": 0})["layers"]
        if lists.empty:
            return {}
        trained = [int(layer) for text in lists.dropna() for layer in text.split(", ")]
        layer = int(number["published"])
        return {"ours": layer if layer in trained else None, "inside": layer in trained}
    if name == "table2":
        groups, quantity = quantity.split(" ")
        table = table[table["score"] == table["score"].iloc[0]]  # The paper has one score.
        ours = _cell(table, {"quantity": quantity}, f"{title} {groups}")
        if ours is not None:
            low, high = kruskal_intervals[title][groups][quantity]
    elif name == "table4":
        where = {"model": title, "metric": quantity}
        ours, error = _cell(table, where, setup), _cell(table, where, f"{setup}_error")
        if ours is not None and error is not None:
            low, high = _confidence(PRINTED_METRICS[quantity], ours, error)
    else:
        ours = low = high = _cell(table, {"model": title}, quantity)
    if low is None or np.isnan(low):
        return {"ours": ours}
    printed_low, printed_high = printed_interval(number["published"])
    inside = low <= printed_high and high >= printed_low
    return {"ours": ours, "low": low, "high": high, "inside": inside}


def _select_rows(table: pd.DataFrame, where: dict) -> pd.DataFrame:
    """The rows of `table` with the values {column: value} of `where`."""
    return table[np.logical_and.reduce([table[column] == key for column, key in where.items()])]


def _cell(table: pd.DataFrame, where: dict, column: str) -> float | None:
    """The number in a column of the row `where`; None if it is missing or nan."""
    values = _select_rows(table, where).get(column, pd.Series(dtype=float)).dropna().tolist()
    return values[0] if values else None


def _confidence(metric: Metric, value: float, error: float) -> tuple[float, float]:
    """The 95 % confidence interval of a metric from its standard error."""
    if metric.is_logarithmic:
        factor = np.exp(1.96 * error / value)
        return float(value / factor), float(value * factor)
    low, high = metric.bounds
    return max(value - 1.96 * error, low), min(value + 1.96 * error, high)

"""Every number that the paper prints, beside this study's."""

import numpy as np
import pandas as pd

from headimpact.guards import UserError
from headimpact.report.published import printed_interval, read
from headimpact.scores.head_impact import images_of, object_ious
from headimpact.statistics import kruskal_interval

COLUMNS = [
    *("table", "model", "setup", "quantity"),
    *("ours", "low", "high"),
    *("published", "published_error", "inside"),
]


def impact_interval(
    tokens: pd.DataFrame,
    attention: pd.DataFrame,
    objects: pd.DataFrame,
    mask_share: float,
    average_over: str,
) -> dict:
    """`kruskal_interval` of one model's Head Impact, from tables of these kinds.

    mask_share, average_over: see `scores.head_impact.head_impact`.
    """
    ids, ious = object_ious(tokens, attention, mask_share)
    images, weights = images_of(ids, objects), None
    if average_over == "images":
        _, index, counts = np.unique(images, return_inverse=True, return_counts=True)
        weights = 1 / counts[index]
    return kruskal_interval(ious, images, weights=weights)


def compare(folder, names, tables, kruskal_intervals):
    """A row a published number and model of ours: both, and whether they agree.

    folder: the published tables. names: {title: published model}. tables: {"table1" to "table5":
    DataFrame} as `tables` makes them. kruskal_intervals: {title: see `kruskal_interval`}; Table 2
    is compared with its corrected print.

    `low` and `high` hold ours with 95 % confidence: Table 2 as resampled, Table 4 by its error,
    of the logarithm for perplexity, within 0 and 1 for the others; counts are exact. `inside`
    says whether they overlap the numbers that round to the printed one. In Table 3 a row is a
    published layer, and `inside` says whether our setup's first draw trains it. What this study
    does not have, or has as nan, is None; a model without a title stands under its published
    name. Raises ValueError if `names` has a model that the paper has not.
    """
    numbers = _published_numbers(folder)
    models = list(dict.fromkeys(number["model"] for number in numbers))
    for title, name in names.items():
        if name not in models:
            raise UserError(f"{title}: no published model {name}; there are: {', '.join(models)}")
    rows = []
    for number in numbers:
        titles = [title for title, name in names.items() if name == number["model"]]
        for title in titles:
            rows.append(number | {"model": title} | _ours(number, title, tables, kruskal_intervals))
        if not titles:
            rows.append(number)
    return pd.DataFrame(rows, columns=COLUMNS, dtype=object)


def _published_numbers(folder):
    """Every published number as a dict of COLUMNS with ours still None."""
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


def _ours(number, title, tables, kruskal_intervals):
    """What of a row is ours: ours, low, high, inside (dict)."""
    name, setup, quantity = number["table"], number["setup"], number["quantity"]
    table, low, high = tables[name], None, None
    if name == "table3":
        found = _rows(table, {"model": title, "setup": setup, "draw": 0})["layers"]
        if found.empty:
            return {}
        layer = int(number["published"])
        trained = layer in [int(one) for text in found.dropna() for one in text.split(", ")]
        return {"ours": layer if trained else None, "inside": trained}
    if name == "table2":
        groups, quantity = quantity.split(" ")
        ours = _cell(table, {"quantity": quantity}, f"{title} {groups}")
        if ours is not None:
            low, high = kruskal_intervals[title][groups][quantity]
    elif name == "table4":
        where = {"model": title, "metric": quantity}
        ours, error = _cell(table, where, setup), _cell(table, where, f"{setup}_error")
        if ours is not None and error is not None:
            low, high = _confidence(quantity, ours, error)
    else:
        ours = low = high = _cell(table, {"model": title}, quantity)
    if low is None or np.isnan(low):
        return {"ours": ours}
    least, most = printed_interval(number["published"])
    return {"ours": ours, "low": low, "high": high, "inside": low <= most and high >= least}


def _rows(table, where):
    return table[np.logical_and.reduce([table[column] == key for column, key in where.items()])]


def _cell(table, where, column):
    """A number of `table`, or None if it has none there or nan."""
    found = _rows(table, where).get(column, pd.Series(dtype=float)).dropna().tolist()
    return found[0] if found else None


def _confidence(metric, value, error):
    """The 95 % interval (low, high) of a metric with its standard error."""
    if metric == "Perplexity":
        factor = np.exp(1.96 * error / value)
        return float(value / factor), float(value * factor)
    return max(value - 1.96 * error, 0.0), min(value + 1.96 * error, 1.0)

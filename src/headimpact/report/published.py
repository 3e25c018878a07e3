"""Reads the tables of the paper; numbers stay text, which shows how they were rounded."""

import csv
import re
from decimal import Decimal
from pathlib import Path

import pandas as pd

from headimpact.guards import UserError

KEYS = {
    "table1": ["model"],
    "table2": ["quantity"],
    "table2_corrected": ["quantity"],
    "table3": ["model", "setup"],
    "table4": ["model", "metric"],
    "table5": ["model"],
}
# The columns of tables 2 and 4 depend on the models and setups, see _expected_columns.
NUMBERS = {
    "table1": ["parameters", "layers", "attention_heads"],
    "table3": ["layers"],
    "table5": ["total", "trainable", "trainable_percent"],
}

_INTEGER = r"-?(\d{1,3}(,\d{3})+|\d+)"
_NUMBER = re.compile(_INTEGER + r"(\.\d+)?(e-?\d+)?")
_LAYERS = re.compile(r"\d+(, \d+)*")


def read(folder: str | Path, name: str) -> pd.DataFrame:
    """The table `name` (table1 to table5, table2_corrected) of the folder, as text.

    Raises UserError, with the file and the row, if it is missing or malformed.
    """
    path = Path(folder) / f"{name}.csv"
    fix = "copy it from resources/published"
    if not path.is_file():
        raise UserError(f"{path}: missing; {fix}")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path}: not a CSV table ({error}); {fix}") from error
    problem = _problem(name, header, rows)
    if problem:
        raise UserError(f"{path}: {problem}; {fix}")
    return pd.DataFrame(rows, columns=header, dtype=str)


def _problem(name: str, header: list[str], rows: list[list[str]]) -> str | None:
    """What is malformed in a table, or None."""
    keys, numbers = KEYS[name], header[len(KEYS[name]) :]
    expected = NUMBERS.get(name, _expected_columns(name, numbers))
    if header != [*keys, *expected]:
        return f"columns {', '.join(header)}, not {', '.join([*keys, *expected])}"
    if not rows:
        return "no rows"
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            return f"row {number} has {len(row)} of {len(header)} cells"
        for column, text in zip(numbers, row[len(keys) :], strict=True):
            pattern = _LAYERS if name == "table3" else _NUMBER
            is_omitted = column.endswith("_error") and text == ""
            if not (is_omitted or pattern.fullmatch(text)):
                return f"row {number}, {column}: {text!r} is no printed number"
    row_keys = [tuple(row[: len(keys)]) for row in rows]
    duplicates = [key for key in row_keys if row_keys.count(key) > 1]
    return f"{', '.join(duplicates[0])} twice" if duplicates else None


def _expected_columns(name: str, numbers: list[str]) -> list[str]:
    """The columns that table 2 or 4 should have, from the first column of each pair."""
    titles = [column.removesuffix(" layers") for column in numbers[::2]]
    suffixes = ("", "_error") if name == "table4" else (" layers", " heads")
    return [title + suffix for title in titles for suffix in suffixes]


def printed_interval(text: str) -> tuple[float, float]:
    """The smallest and largest number that round to the printed `text`.

    "0.94" gives (0.935, 0.945), "3.62e-9" gives (3.615e-9, 3.625e-9), and an integer such as
    "3,033,479,408" gives itself twice. Raises UserError if `text` is not a printed number.
    """
    if not _NUMBER.fullmatch(text):
        raise UserError(
            f"{text!r} is not a printed number; write it like 0.94, 3.62e-9 or 3,033,479,408"
        )
    value = Decimal(text.replace(",", ""))
    half = Decimal(0)
    if not re.fullmatch(_INTEGER, text):
        half = Decimal(5).scaleb(value.as_tuple().exponent - 1)
    return float(value - half), float(value + half)

"""The paper's tables as printed: every number as text, so that its precision is known."""

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
# of tables 2 and 4 the columns follow the models and the setups
NUMBERS = {
    "table1": ["parameters", "layers", "attention_heads"],
    "table3": ["layers"],
    "table5": ["total", "trainable", "trainable_percent"],
}

_INTEGER = r"-?(\d{1,3}(,\d{3})+|\d+)"
_NUMBER = re.compile(_INTEGER + r"(\.\d+)?(e-?\d+)?")
_LAYERS = re.compile(r"\d+(, \d+)*")


def read(folder, name):
    """The table `name` (table1 to table5, table2_corrected) of `folder`, a DataFrame of str.

    Raises ValueError, naming the file and the mend, if it is missing or malformed.
    """
    path = Path(folder) / f"{name}.csv"
    mend = "take it from resources/published"
    if not path.is_file():
        raise UserError(f"{path}: missing; {mend}")
    try:
        with path.open(encoding="utf-8", newline="") as file:
            header, *rows = csv.reader(file)
    except (ValueError, csv.Error) as error:
        raise UserError(f"{path}: not a CSV table ({error}); {mend}") from error
    fault = _fault(name, header, rows)
    if fault:
        raise UserError(f"{path}: {fault}; {mend}")
    return pd.DataFrame(rows, columns=header, dtype=str)


def _fault(name, header, rows):
    """What is wrong with a table, in words (str), or None."""
    keys, numbers = KEYS[name], header[len(KEYS[name]) :]
    wanted = NUMBERS.get(name, _following(name, numbers))
    if header != [*keys, *wanted]:
        return f"columns {', '.join(header)}, not {', '.join([*keys, *wanted])}"
    if not rows:
        return "no rows"
    for number, row in enumerate(rows, start=2):
        if len(row) != len(header):
            return f"row {number} has {len(row)} of {len(header)} cells"
        for column, text in zip(numbers, row[len(keys) :], strict=True):
            pattern = _LAYERS if name == "table3" else _NUMBER
            unprinted = column.endswith("_error") and text == ""
            if not (unprinted or pattern.fullmatch(text)):
                return f"row {number}, {column}: {text!r} is no printed number"
    named = [tuple(row[: len(keys)]) for row in rows]
    twice = [row for row in named if named.count(row) > 1]
    return f"{', '.join(twice[0])} twice" if twice else None


def _following(name, numbers):
    """The columns of numbers of table 2 or 4 if the first of each pair is right."""
    firsts = [column.removesuffix(" layers") for column in numbers[::2]]
    ends = ("", "_error") if name == "table4" else (" layers", " heads")
    return [first + end for first in firsts for end in ends]


def printed_interval(text):
    """The numbers (low, high) that round to the printed `text`; an integer is only itself.

    "0.94" gives (0.935, 0.945), "3.62e-9" (3.615e-9, 3.625e-9) and "3,033,479,408" that number
    twice. Raises ValueError if `text` is no printed number.
    """
    if not _NUMBER.fullmatch(text):
        raise UserError(f"{text!r} is no printed number, such as 0.94, 3.62e-9 or 3,033,479,408")
    value = Decimal(text.replace(",", ""))
    half = Decimal(0)
    if not re.fullmatch(_INTEGER, text):
        half = Decimal(5).scaleb(value.as_tuple().exponent - 1)
    return float(value - half), float(value + half)

"""Rows of the tables that rules exchange, and a check that reading a table is refused."""

import pytest

from headimpact import artifacts
from headimpact.guards import UserError

TOKENS = [
    {"object_id": 1, "tiles": 1, "rows": 2, "columns": 1, "coverage": [0.5, 0.25]},
    {"object_id": 300, "tiles": 1, "rows": 2, "columns": 1, "coverage": [1.0, 0.0]},
]
ATTENTION = {
    "object_id": 1,
    "layer": 0,
    "head": 0,
    "attended": b"\x80",
    "image_mass": 0.5,
    "object_mass": 0.25,
    "top_token": 0,
    "spatial_entropy": 0.0,
}
SCORES = [
    {
        "score": "s",
        "layer": 0,
        "head": 3,
        "value": 0.5,
        "standard_error": 0.125,
        "null": 0.1,
        "first_half": 0.25,
        "second_half": 0.75,
        "resampled": [0.25, 0.5, 0.75],
        "n": 9,
        "cost": 100.0,
    },
    {
        "score": "s",
        "layer": 1,
        "head": 4,
        "value": 0.25,
        "standard_error": None,
        "null": None,
        "first_half": None,
        "second_half": None,
        "resampled": None,
        "n": 9,
        "cost": 100.0,
    },
    {
        "score": "t",
        "layer": 2,
        "head": None,
        "value": 0.75,
        "standard_error": 0.5,
        "null": None,
        "first_half": None,
        "second_half": None,
        "resampled": None,
        "n": 7,
        "cost": None,
    },
]


def assert_refused(path, kind, message):
    """Assert that reading raises UserError: a line with the path, `message` and a fix."""
    with pytest.raises(UserError) as error:
        artifacts.read(path, kind)
    text = str(error.value)
    assert text.startswith(f"{path}: ") and message in text and "\n" not in text, text
    assert "; " in text, text

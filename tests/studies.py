"""A small study for tests of config.yaml, and a check that a changed one is refused."""

import copy

import pytest

from headimpact.guards import UserError
from headimpact.study.config import parse_config

BASE = {
    "default_study": "s",
    "studies": {
        "s": {
            "title": "a study",
            "dataset": {"kind": "scenes", "images": 9},
            "sampling": {"images": 9},
            "models": {"own": {"title": "own", "checkpoint": "someone/something"}},
            "setups": {
                "original": {"layers": "none"},
                "top-2": {"layers": "top", "count": 2},
                "random-2": {"layers": "random", "count": 2, "draws": 3},
                "full": {"layers": "all"},
            },
        }
    },
}


def study(**changes):
    """The study of BASE with other values for some of its keys."""
    config = copy.deepcopy(BASE)
    config["studies"]["s"].update(changes)
    return parse_config(config).studies["s"]


def assert_refused(section, key, **changes):
    """Assert that the changed study is refused in one line that begins with `section` and `key`."""
    with pytest.raises(UserError) as error:
        study(**changes)
    line = str(error.value)
    assert line.startswith(f"config.yaml: studies.s.{section}{key}: ") and "\n" not in line
    return line

"""The versions that decide results are written down twice, and both are what runs."""

import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

ROOT = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
ENVIRONMENTS = sorted((ROOT / "envs").glob("*.yaml"))


def pins(lines):
    """Name -> exact version; a line without an exact pin is an error."""
    found = {}
    for line in lines:
        requirement = Requirement(line)
        specifiers = list(requirement.specifier)
        assert [s.operator for s in specifiers] == ["=="], f"not pinned exactly: {line}"
        assert requirement.name not in found, f"pinned twice: {requirement.name}"
        found[requirement.name] = specifiers[0].version
    return found


def pip_lines(environment):
    dependencies = yaml.safe_load(environment.read_text())["dependencies"]
    return [line for entry in dependencies if isinstance(entry, dict) for line in entry["pip"]]


def test_there_is_an_environment():
    assert ENVIRONMENTS


@pytest.mark.parametrize("environment", ENVIRONMENTS, ids=lambda path: path.name)
def test_environment_pins_what_the_project_pins(environment):
    assert pins(pip_lines(environment)) == pins(PROJECT["dependencies"])


@pytest.mark.parametrize(("name", "pinned"), pins(PROJECT["dependencies"]).items())
def test_installed_version_is_the_pinned_one(name, pinned):
    # the local part (2.13.0+cpu) names a build of the same release
    assert Version(version(name)).public == pinned


def test_development_tools_are_pinned():
    assert pins(PROJECT["optional-dependencies"]["dev"])

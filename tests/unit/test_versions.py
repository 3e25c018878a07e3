"""The versions that decide results are written down twice, and both are what runs."""

import subprocess
import sys
import textwrap
import tomllib
from importlib.metadata import version
from pathlib import Path

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.version import Version

from headimpact import code_version
from headimpact.code_version import installed_version, pinned_versions

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


def test_the_pins_are_what_a_hash_of_code_counts_under_conda():
    for environment in ENVIRONMENTS:
        versions = pinned_versions(environment)
        for name, pinned in pins(PROJECT["dependencies"]).items():
            assert versions(name) == pinned == installed_version(name)


def test_a_local_build_is_the_same_version(monkeypatch):
    installed_version.cache_clear()
    monkeypatch.setattr(code_version.importlib.metadata, "version", lambda name: "2.13.0+cpu")
    assert installed_version("torch") == "2.13.0"
    monkeypatch.undo()
    installed_version.cache_clear()
    assert installed_version("no-such-package") == "not installed"


def test_pinned_versions_are_those_of_the_environment_file(tmp_path):
    path = tmp_path / "environment.yaml"
    path.write_text(
        textwrap.dedent("""
            dependencies:
              - git # to download
              - python=3.11
              - numpy==2.4.6
              - pip:
                  - torch==2.13.0
                  - Huggingface_Hub==2.4.0
            """)
    )
    versions = pinned_versions(path)
    names = ("python", "numpy", "torch", "huggingface-hub", "peft")
    expected = ["3.11", "2.4.6", "2.13.0", "2.4.0", "not pinned"]
    assert [versions(name) for name in names] == expected


def test_the_import_is_light():
    code = (
        "import sys, headimpact.code_version, headimpact.artifacts, headimpact.checkpoints\n"
        "print([name for name in ('numpy', 'pandas', 'pyarrow', 'torch') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"

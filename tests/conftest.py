import importlib
from pathlib import Path

import numpy as np
import pytest
import tiny_families
import torch
from PIL import Image
from projects import Project

from headimpact.miniature.checkpoints import MAKERS, save

torch.set_num_threads(1)

# The marks of test files. Plain `pytest` deselects marked tests, .ci/run runs them.
MARKS = {"test_faults.py": "faults", "test_fuzz.py": "fuzz"}
FAST_GRAPH = "test_small_graph.py"
SCRIPTS = Path(__file__).parents[1] / "workflow/scripts"


def pytest_collection_modifyitems(items):
    for item in items:
        mark = MARKS.get(item.path.name)
        if mark is None and item.path.parent.name == "workflow" and item.path.name != FAST_GRAPH:
            mark = "slow"
        if mark:
            item.add_marker(getattr(pytest.mark, mark))


@pytest.fixture(scope="session", params=sorted(MAKERS))
def model_and_family(request):
    """A small random model of each of the paper's classes, and its family."""
    torch.manual_seed(0)
    model, family = MAKERS[request.param]()
    return model.eval(), family


@pytest.fixture(scope="session", params=tiny_families.NAMES)
def tiny_name(request):
    """The name of a module of tests/tiny_families."""
    return request.param


@pytest.fixture(scope="session")
def tiny(tiny_name):
    """Its model, and its Family under each of the settings of the image processor."""
    model, family = tiny_families.make(tiny_name)
    return model, tiny_families.families(tiny_name, family)


@pytest.fixture
def photo():
    """Makes a noise image of a given size."""

    def make(width, height, seed=0):
        rng = np.random.default_rng(seed)
        return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))

    return make


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory):
    """Random miniatures of the three classes as Hugging Face folders."""
    folder = tmp_path_factory.mktemp("meine Gewichte für uns")
    for name, make in MAKERS.items():
        torch.manual_seed(0)
        save(folder / name, *make())
    return folder


@pytest.fixture(scope="session")
def project(tmp_path_factory):
    """Makes a Project in a new folder. Its path has a space and an ü, as the checkpoints' has."""

    def make(config):
        return Project(tmp_path_factory.mktemp("ein Prüfstück") / "p", config)

    return make


@pytest.fixture
def scripts(monkeypatch):
    """Imports a module that the scripts of the workflow share."""
    monkeypatch.syspath_prepend(SCRIPTS)
    return importlib.import_module

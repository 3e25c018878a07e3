import pytest
import torch
from projects import ALL, Project, tiny

from headimpact.miniature.checkpoints import MAKERS, save


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
    """Makes a Project in a folder of its own. As the checkpoints' its name has spaces and an ü."""

    def make(config):
        return Project(tmp_path_factory.mktemp("ein Prüfstück") / "p", config)

    return make


@pytest.fixture(scope="session")
def finished(project, checkpoints):
    """All tables and figures of three random models, made once; tests leave it as it was.

    Beside it the study `other`, of one model, with its Head Impact alone.
    """
    told = tiny(checkpoints, *ALL)
    told["studies"]["other"] = tiny(checkpoints, "qwen2_vl")["studies"]["tiny"]
    made = project(told)
    made.output = made.run()
    made.run("results/other/table2.csv")
    return made

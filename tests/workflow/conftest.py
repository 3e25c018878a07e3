import pytest
from projects import MINIATURES, tiny


@pytest.fixture(scope="session")
def finished(project, checkpoints):
    """A finished study of three random models, with all tables and figures.

    All tests share it, so a test undoes its changes. A second study, `other`, of one model, has
    only its Head Impact.
    """
    config = tiny(checkpoints, *MINIATURES)
    config["studies"]["tiny"]["nulls"] = {"untrained": True, "seed": 1}
    config["studies"]["other"] = tiny(checkpoints, "qwen2_vl")["studies"]["tiny"]
    workflow = project(config)
    workflow.output = workflow.run()
    workflow.run("results/other/table2.csv")
    return workflow

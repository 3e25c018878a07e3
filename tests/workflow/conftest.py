import pytest
from projects import ALL, tiny


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

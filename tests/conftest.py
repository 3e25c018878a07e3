import numpy as np
import pytest
import torch
from PIL import Image

from headimpact.miniature.checkpoints import MAKERS

torch.set_num_threads(1)


@pytest.fixture(scope="session", params=sorted(MAKERS))
def made(request):
    """A small random model of each of the paper's classes, with its family."""
    torch.manual_seed(0)
    model, family = MAKERS[request.param]()
    return model.eval(), family


@pytest.fixture
def photo():
    """A noise image of a given size."""

    def make(width, height, seed=0):
        rng = np.random.default_rng(seed)
        return Image.fromarray(rng.integers(0, 256, (height, width, 3), dtype=np.uint8))

    return make

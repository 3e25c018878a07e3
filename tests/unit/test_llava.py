"""LLaVA-1.5: what is outside the middle square is in no token; BOS, which no template writes."""

import numpy as np
import pandas as pd
import pytest
import tiny_families
from painted import contradictions, local_features
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from headimpact.dataset import masks
from headimpact.guards import UserError
from headimpact.models import prompts
from headimpact.models.family import Tile, TokenGrid
from headimpact.models.llava import Llava
from headimpact.report.tables import token_coverage, uncovered_objects
from headimpact.scores.coverage import object_tokens

((SETTINGS, _),) = tiny_families.MODULES["llava"].PUBLISHED_IMAGES
# at 640 x 480, the pixels from 80 to 560 are seen
SIDES = {0: (0, 80), 1: (560, 640), 2: (60, 88), 3: (300, 400)}
OBJECTS = pd.DataFrame(
    [(5, object_id, f"object {object_id}") for object_id in SIDES],
    columns=["sample_id", "object_id", "description"],
)
SAMPLES = pd.DataFrame(
    [(5, "a.png", 640, 480)], columns=["sample_id", "file_name", "width", "height"]
)


@pytest.fixture(scope="module")
def published():
    """A model of tiny layers with LLaVA-1.5's sizes of image and patch, and its Family."""
    return tiny_families.make("llava", **SETTINGS)


def side_objects():
    for left, right in SIDES.values():
        mask = np.zeros((480, 640), bool)
        mask[100:300, left:right] = True
        yield masks.encode(mask)


@pytest.mark.parametrize("size", [(640, 480), (427, 640), (200, 145)])
def test_the_grid_is_over_the_middle_square_alone(published, size):
    model, family = published
    grid = family.grid(*size)
    ((x0, y0, x1, y1),) = (tile.box for tile in grid.tiles)
    assert x1 - x0 == pytest.approx(min(size), abs=1) == y1 - y0
    whole = TokenGrid((Tile(24, 24, (0, 0, *size)),))
    with local_features(model):
        assert contradictions(model, family, size, grid.rectangles) == 0
        assert contradictions(model, family, size, whole.rectangles) > 20


# eight pixels of object 2 are seen, less than half of a token of twenty
@pytest.mark.parametrize(("share", "expected"), [(0, [0, 1]), (0.5, [0, 1, 2])])
def test_objects_outside_the_middle_square_are_counted_as_uncovered(published, share, expected):
    _, family = published
    objects = OBJECTS.assign(mask=[*side_objects()])
    tokens = pd.DataFrame(object_tokens(family, SAMPLES, objects))
    uncovered = uncovered_objects({"LLaVA": tokens}, objects, share)
    assert uncovered["object_id"].tolist() == expected
    (row,) = token_coverage({"LLaVA": tokens}, uncovered, share).itertuples()
    assert (row.objects, row.uncovered) == (4, len(uncovered))


def test_bos_is_written_once_whether_or_not_the_template_writes_it():
    _, family = tiny_families.make("llava")
    tokenizer, grid = family.tokenizer, family.grid(48, 48)
    ids = prompts.description(family, grid, "a cat").ids
    assert ids[0] == tokenizer.bos_token_id and ids.count(tokenizer.bos_token_id) == 1
    tokenizer.chat_template = "{{ bos_token }}" + tokenizer.chat_template
    assert prompts.description(family, grid, "a cat").ids == ids


def test_another_image_processor_is_refused():
    _, family = tiny_families.make("llava")
    match = r"^preprocessor_config\.json: SiglipImageProcessorPil .* name another checkpoint$"
    with pytest.raises(UserError, match=match):
        Llava(family.config, family.tokenizer, SiglipImageProcessorPil())

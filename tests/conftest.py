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


def plain(model, family, image, sequence):
    """One whole pass with eager attention: the model's own forward, from pixels.

    Returns the target's log-probabilities and the mean attention from its tokens to the image's.
    """
    text = model.get_submodule(family.decoder)
    ids = torch.tensor([sequence.ids])
    inputs = {**family.pixels([image]), "attention_mask": torch.ones_like(ids)}
    if family.model_type == "paligemma":
        inputs["token_type_ids"] = (torch.arange(ids.shape[1])[None] >= sequence.start).long()
    if family.model_type == "qwen2_vl":
        inputs["mm_token_type_ids"] = (ids == family.image_token).int()
    implementation = text.config._attn_implementation
    text.config._attn_implementation = "eager"
    with torch.no_grad():
        out = model(input_ids=ids, output_attentions=True, use_cache=False, **inputs)
    text.config._attn_implementation = implementation
    start = sequence.start
    logs = out.logits[0, start - 1 : -1].log_softmax(-1)
    logs = logs.gather(-1, ids[0, start:, None])[:, 0]
    attention = torch.stack(out.attentions)[:, 0, :, start:]
    return logs, attention[..., ids[0] == family.image_token].mean(2)

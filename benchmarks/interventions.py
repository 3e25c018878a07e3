"""Cost of N interventions on an image's reads, beside one plain pass and beside N separate ones.

The separate passes hide the image from the heads by hooks on a full pass of the sequence, whose
image features are computed before, as are those of the fast way.
"""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import torch

from benchmarks.command import append_row, parse_arguments
from benchmarks.meter import device_name, measure
from benchmarks.models import build
from benchmarks.pictures import DESCRIPTIONS, draw
from headimpact.models import prompts
from headimpact.models.continuations import score_continuations
from headimpact.models.family import EncodedImage, Family, Sequence
from headimpact.models.features import compute
from headimpact.models.image_reads import block_image_reads
from headimpact.models.interventions import (
    Intervention,
    branched_length,
    predict_under_interventions,
)
from headimpact.models.layout import conversation_segments, lay_out


def together(model, family, image, sequence, interventions) -> list[torch.Tensor]:
    """Log-probabilities (target tokens, vocabulary) of each intervention, from one pass of all."""
    pieces = len(interventions)
    return list(
        predict_under_interventions(model, family, image, sequence, interventions, pieces=pieces)
    )


@torch.no_grad()
def separate(
    model: torch.nn.Module,
    family: Family,
    image: EncodedImage,
    sequence: Sequence,
    interventions: list[Intervention],
) -> list[torch.Tensor]:
    """The same from a full pass for each intervention, on all reads of its heads."""
    plain = Sequence(sequence.ids[:-1], sequence.start)
    layout = lay_out(family, image.grid, conversation_segments(plain))
    device, dtype = model.device, model.dtype
    visible = layout.visible()
    mask = torch.zeros(visible.shape, dtype=dtype).masked_fill(~visible, torch.finfo(dtype).min)
    inputs = {
        "input_ids": layout.ids[None].to(device),
        "attention_mask": mask[None, None].to(device),
        "position_ids": family.arrange_positions(layout.positions[None]).to(device),
        "mm_encoder_outputs": family.encoder_outputs([image.features]),
        "logits_to_keep": len(plain.ids) - sequence.start + 1,
        "use_cache": False,
        **{name: types[None].to(device) for name, types in layout.token_types.items()},
    }
    predictions = []
    for intervention in interventions:
        with block_image_reads(model, family, intervention.heads):
            predictions.append(model(**inputs).logits[0].float().log_softmax(-1))
    return predictions


def conversations(family: Family, image: EncodedImage) -> dict[str, Sequence]:
    """A description and a question, whose label is the target."""
    return {
        "description": prompts.description(family, image.grid, DESCRIPTIONS[0]),
        "question": prompts.choices(family, image.grid, DESCRIPTIONS[:4])[0],
    }


def first_image(scale: str, model, family) -> EncodedImage:
    """The first image of those that benchmarks are measured on."""
    images, samples, *_ = draw(scale, impact=1)
    ((sample, features),) = compute(model, family, images, samples)
    return family.encoded_image(sample, features)


def random_interventions(family: Family, count: int, keep: float = 0.25) -> list[Intervention]:
    """Interventions on random sets of heads, of which each head is kept with that probability."""
    generator = torch.Generator().manual_seed(0)
    heads = torch.rand((count, family.layers, family.heads), generator=generator) >= keep
    return [Intervention(each) for each in heads]


def main() -> None:
    arguments = parse_arguments(__doc__, scale="miniature", branches=24, rounds=3)
    for title in arguments.models:
        with tempfile.TemporaryDirectory() as work:
            model, family = build(
                title, arguments.scale, Path(work), arguments.device, arguments.dtype
            )
        image = first_image(arguments.scale, model, family)
        interventions = random_interventions(family, arguments.branches)
        for text, sequence in conversations(family, image).items():
            inputs = (model, family, image, sequence)
            ways = {
                "plain": partial(score_continuations, model, family, [(image, sequence)]),
                "together": partial(together, *inputs, interventions),
                "separate": partial(separate, *inputs, interventions),
            }
            for way in ways.values():
                way()  # the first use of a library takes longer, and is not measured
            measured = {
                name: [measure(arguments.device, way) for _ in range(arguments.rounds)]
                for name, way in ways.items()
            }
            seconds = {name: min(m.seconds for m in runs) for name, runs in measured.items()}
            tokens = len(sequence.ids) - 1
            row = {
                "device": device_name(arguments.device),
                "dtype": arguments.dtype,
                "model": title,
                "scale": arguments.scale,
                "text": text,
                "tokens": tokens,
                "branches": arguments.branches,
                **{f"{name}_ms": f"{1000 * value:.1f}" for name, value in seconds.items()},
                "plain_passes": f"{seconds['together'] / seconds['plain']:.1f}",
                "plain_passes_by_tokens": (
                    f"{branched_length(family, sequence, arguments.branches) / tokens:.1f}"
                ),
                "times_separate": f"{seconds['separate'] / seconds['together']:.1f}",
                "peak_mib": f"{np.min([m.memory for m in measured['together']]) / 2**20:.0f}",
            }
            append_row("interventions", row)


if __name__ == "__main__":
    main()

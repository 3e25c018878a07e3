"""Head Impact against the plain way, and against one bare pass an image (the floor).

python -m benchmarks.head_impact [--scale small] [--images 10] [--rounds 3] [--models ...]

Each round takes the three in turn over the same images, 3.3 objects each; the fastest round
counts. Images are read before: that takes all three the same time, which has a column of its own.
Adds to benchmarks/head_impact.csv. See README.md.
"""

import tempfile
from functools import partial
from pathlib import Path

import numpy as np
import pandas as pd
import torch

from benchmarks import plain
from benchmarks.command import append_row, parse_arguments
from benchmarks.config import PAPER
from benchmarks.meter import device_name, measure
from benchmarks.models import build
from benchmarks.pictures import Images, draw
from headimpact.models.family import Family
from headimpact.scores.attention import measure_attention
from headimpact.scores.attention_table import unpack


def fast(
    model: torch.nn.Module,
    family: Family,
    images: Images,
    samples: pd.DataFrame,
    objects: pd.DataFrame,
) -> list[list[bytes]]:
    """The packed bits of `measure_attention`; a list of layers x heads entries an object."""
    heads = family.layers * family.heads
    tables = measure_attention(model, family, images, samples, objects, PAPER.attention.batch)
    rows = [row for table in tables for row in table["attended"]]
    return [rows[i : i + heads] for i in range(0, len(rows), heads)]


def share_that_differs(
    tokens: list[int], packed: list[list[bytes]], other_packed: list[list[bytes]]
) -> float:
    """Share of (object, head, token) that are attended in one result and not in the other.

    tokens: the image tokens of each object's image.
    """
    pairs = [
        (unpack(bits, count), unpack(other_bits, count))
        for bits, other_bits, count in zip(packed, other_packed, tokens, strict=True)
    ]
    return sum((a != b).sum() for a, b in pairs) / sum(a.size for a, _ in pairs)


def read_images(family: Family, images: Images, samples: pd.DataFrame) -> None:
    """Read all images; from then on `images` and `family` return what was read."""
    pixels = {name: family.pixels([images.image(name)]) for name in samples["file_name"]}
    images.image = lambda name: name
    family.pixels = lambda names: pixels[names[0]]


def compare(title: str, scale: str, device: str, dtype: str, count: int, rounds: int) -> dict:
    """The row of one model; count: how many images."""
    images, samples, objects, _ = draw(scale, impact=count)
    with tempfile.TemporaryDirectory() as work:
        model, family = build(title, scale, Path(work), device, dtype)
    reading = measure("cpu", partial(read_images, family, images, samples)).seconds / count
    inputs = (model, family, images, samples, objects)
    first_image = (*inputs[:3], samples.head(1), objects[objects["sample_id"] == 0])
    ways = {
        "floor": plain.bare_passes,
        "fast": fast,
        "plain": lambda *inputs: list(plain.attended_tokens(*inputs)),
    }
    for way in ways.values():
        way(*first_image)  # the first use of a library takes longer, and is not measured
    measured = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            measured[name].append(measure(device, partial(way, *inputs)))
    sizes = objects.merge(samples, on="sample_id")
    tokens = [family.grid(row.width, row.height).tokens for row in sizes.itertuples()]
    rate = {name: count / min(m.seconds for m in measured[name]) for name in ways}
    peak = {name: min(m.memory for m in measured[name]) / 2**20 for name in ways}
    differing = share_that_differs(tokens, measured["fast"][0].result, measured["plain"][0].result)
    return {
        "device": device_name(device),
        "dtype": dtype,
        "model": title,
        "scale": scale,
        "images": count,
        "objects": len(objects),
        "tokens": round(np.mean(tokens)),
        **{f"{name}_images_per_s": f"{value:.4g}" for name, value in rate.items()},
        "reading_ms": f"{1000 * reading:.0f}",
        "of_floor": f"{rate['fast'] / rate['floor']:.2f}",
        "times_plain": f"{rate['fast'] / rate['plain']:.1f}",
        **{f"{name}_peak_mib": f"{value:.0f}" for name, value in peak.items()},
        "peak_of_floor": f"{peak['fast'] / peak['floor']:.2f}",
        "differing": f"{differing:.1e}",
    }


def main() -> None:
    arguments = parse_arguments(__doc__, scale="small", images=10, rounds=3)
    for title in arguments.models:
        row = compare(
            title,
            arguments.scale,
            arguments.device,
            arguments.dtype,
            arguments.images,
            arguments.rounds,
        )
        append_row("head_impact", row)


if __name__ == "__main__":
    main()

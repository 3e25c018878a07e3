"""Head Impact against the plain way, and against one bare pass an image (the floor).

python -m benchmarks.head_impact [--scale small] [--images 10] [--rounds 3] [--models ...]

Each round takes the three in turn over the same images, 3.3 objects each; the fastest round
counts. Images are read before: that takes every way the same time, which stands in a column of its
own. Adds to benchmarks/head_impact.csv. See README.md.
"""

import tempfile
from pathlib import Path

import numpy as np

from benchmarks import plain
from benchmarks.command import arguments, record
from benchmarks.meter import device_name, measure
from benchmarks.models import build
from benchmarks.pictures import draw
from headimpact.scores.attention import attend
from headimpact.scores.head_impact import unpack

BATCH = 16  # impact.batch of config.yaml


def ours(*study):
    """What `attend` keeps, a list of bytes for each object."""
    heads = study[1].layers * study[1].heads
    rows = [row for table in attend(*study, BATCH) for row in table["attended"]]
    return [rows[i : i + heads] for i in range(0, len(rows), heads)]


def differing(tokens, one, other):
    """Share of (object, head, token) that two ways see on different sides of the mean.

    tokens: visual tokens of each object's image.
    """
    pairs = [
        (unpack(a, count), unpack(b, count)) for a, b, count in zip(one, other, tokens, strict=True)
    ]
    return sum((a != b).sum() for a, b in pairs) / sum(a.size for a, _ in pairs)


def read(family, folder, samples):
    """Read all images; after it, the folder and the family hand out what was read."""
    pixels = {name: family.pixels([folder.image(name)]) for name in samples["file_name"]}
    folder.image = lambda name: name
    family.pixels = lambda names: pixels[names[0]]


def compare(title, scale, device, dtype, images, rounds):
    """A row of results (dict) for one model."""
    folder, samples, objects, _ = draw(scale, impact=images)
    with tempfile.TemporaryDirectory() as work:
        model, family = build(title, scale, Path(work), device, dtype)
    reading = measure("cpu", lambda: read(family, folder, samples)).seconds / images
    study = (model, family, folder, samples, objects)
    warm = (model, family, folder, samples.head(1), objects[objects["sample_id"] == 0])
    ways = {
        "floor": lambda study: plain.floor(*study),
        "ours": lambda study: ours(*study),
        "plain": lambda study: list(plain.attended(*study)),
    }
    for way in ways.values():
        way(warm)
    found = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            found[name].append(measure(device, lambda way=way: way(study)))
    sizes = objects.merge(samples, on="sample_id")
    tokens = [family.grid(row.width, row.height).tokens for row in sizes.itertuples()]
    rate = {name: images / min(one.seconds for one in many) for name, many in found.items()}
    peak = {name: min(one.memory for one in many) / 2**20 for name, many in found.items()}
    return {
        "device": device_name(device),
        "dtype": dtype,
        "model": title,
        "scale": scale,
        "images": images,
        "objects": len(objects),
        "tokens": round(np.mean(tokens)),
        **{f"{name}_images_per_s": f"{value:.4g}" for name, value in rate.items()},
        "reading_ms": f"{1000 * reading:.0f}",
        "of_floor": f"{rate['ours'] / rate['floor']:.2f}",
        "times_plain": f"{rate['ours'] / rate['plain']:.1f}",
        **{f"{name}_peak_mib": f"{value:.0f}" for name, value in peak.items()},
        "peak_of_floor": f"{peak['ours'] / peak['floor']:.2f}",
        "differing": f"{differing(tokens, found['ours'][0].result, found['plain'][0].result):.1e}",
    }


def main():
    told = arguments(__doc__, scale="small", images=10, rounds=3)
    for title in told.models:
        row = compare(title, told.scale, told.device, told.dtype, told.images, told.rounds)
        record("head_impact", row)


if __name__ == "__main__":
    main()

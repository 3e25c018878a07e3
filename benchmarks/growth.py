"""Head Impact and annotation over ten times the images: time and peak memory.

python -m benchmarks.growth [--images 30]

Each works as its rule does, with the miniature checkpoints and a small Florence-2 and SAM2 of
random weights. Adds to benchmarks/growth.csv. See README.md.
"""

import argparse
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

from benchmarks.command import append_row, parse_arguments
from benchmarks.config import PAPER
from benchmarks.meter import device_name, measure
from benchmarks.models import build
from benchmarks.pictures import draw
from headimpact import artifacts
from headimpact.annotate.florence2 import Grounder
from headimpact.annotate.grounding import annotate_with
from headimpact.annotate.sam2 import Segmenter
from headimpact.miniature.annotators import save_florence2, save_sam2
from headimpact.scores.attention import measure_attention

FACTOR = 10  # times the images


def prepare_head_impact(
    title: str, arguments: argparse.Namespace, work: Path
) -> Callable[[int], None]:
    """A function of a number of images that writes their attention to a file in `work`."""
    images, samples, objects, _ = draw("miniature", impact=FACTOR * arguments.images)
    model, family = build(title, "miniature", work, arguments.device, arguments.dtype)

    def run(count):
        tables = measure_attention(
            model, family, images, samples.head(count), objects, PAPER.attention.batch
        )
        artifacts.write_parts(work / "attention.parquet", "attention", tables)

    return run


def prepare_annotation(arguments: argparse.Namespace, work: Path) -> Callable[[int], None]:
    """A function of a number of images that writes their phrases, boxes and masks to files."""
    images, samples, _, _ = draw("miniature", test=FACTOR * arguments.images)
    save_florence2(work / "florence2")
    save_sam2(work / "sam2")
    grounder = Grounder(work / "florence2", arguments.device)
    segmenter = Segmenter(work / "sam2", arguments.device)

    def run(count):
        tables = annotate_with(
            images, samples.head(count), grounder, segmenter, PAPER.annotator.batch
        )
        for kind, table in zip(("annotations", "dropped"), tables, strict=True):
            artifacts.write(work / f"{kind}.parquet", kind, table)

    return run


def main() -> None:
    arguments = parse_arguments(__doc__, scale="miniature", images=30)
    prepare = {
        f"Head Impact, {title}": partial(prepare_head_impact, title, arguments)
        for title in arguments.models
    }
    prepare["annotation"] = partial(prepare_annotation, arguments)
    count, device = arguments.images, arguments.device
    for name, prepare_work in prepare.items():
        with tempfile.TemporaryDirectory() as work:
            run = prepare_work(Path(work))
            run(count)  # the first use of a library takes longer, and is not measured
            few = measure(device, partial(run, count))
            many = measure(device, partial(run, FACTOR * count))
        row = {
            "device": device_name(device),
            "work": name,
            "images": count,
            "seconds": f"{few.seconds:.2f}",
            "peak_mib": f"{few.peak / 2**20:.0f}",
            "images_more": FACTOR * count,
            "seconds_more": f"{many.seconds:.2f}",
            "peak_mib_more": f"{many.peak / 2**20:.0f}",
            "times_the_time": f"{many.seconds / few.seconds:.2f}",
            "times_the_peak": f"{many.peak / few.peak:.3f}",
        }
        append_row("growth", row)


if __name__ == "__main__":
    main()

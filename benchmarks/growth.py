"""Head Impact and annotation over ten times the images: time and peak memory.

python -m benchmarks.growth [--images 30]

Each works as its rule does, with the miniature checkpoints and a small Florence-2 and SAM2 of
random weights. Adds to benchmarks/growth.csv. See README.md.
"""

import tempfile
from pathlib import Path

from benchmarks.command import arguments, record
from benchmarks.meter import device_name, measure
from benchmarks.models import build
from benchmarks.pictures import draw
from headimpact import artifacts
from headimpact.annotate.florence2 import Grounder
from headimpact.annotate.grounding import annotate
from headimpact.annotate.sam2 import Segmenter
from headimpact.scores.attention import attend
from tests.annotators import save_florence2, save_sam2

TIMES = 10


def head_impact(title, told, work):
    """A function of a number of images: Head Impact's attention, to a file."""
    folder, samples, objects, _ = draw("miniature", impact=TIMES * told.images)
    model, family = build(title, "miniature", work, told.device, told.dtype)

    def run(count):
        parts = attend(model, family, folder, samples.head(count), objects, 16)
        artifacts.write_parts(work / "attended.parquet", "attended", parts)

    return run


def annotation(told, work):
    """A function of a number of images: phrases, boxes and masks, to files."""
    folder, samples, _, _ = draw("miniature", test=TIMES * told.images)
    save_florence2(work / "florence2")
    save_sam2(work / "sam2")
    grounder = Grounder(work / "florence2", told.device)
    segmenter = Segmenter(work / "sam2", told.device)

    def run(count):
        tables = annotate(folder, samples.head(count), grounder, segmenter, 8)
        for kind, table in zip(("annotations", "dropped"), tables, strict=True):
            artifacts.write(work / f"{kind}.parquet", kind, table)

    return run


def main():
    told = arguments(__doc__, scale="miniature", images=30)
    makers = {
        f"Head Impact, {title}": lambda work, title=title: head_impact(title, told, work)
        for title in told.models
    }
    makers["annotation"] = lambda work: annotation(told, work)
    for name, make in makers.items():
        with tempfile.TemporaryDirectory() as work:
            run = make(Path(work))
            run(told.images)  # first uses, which are not measured
            once = measure(told.device, lambda run=run: run(told.images))
            more = measure(told.device, lambda run=run: run(TIMES * told.images))
        row = {
            "device": device_name(told.device),
            "work": name,
            "images": told.images,
            "seconds": f"{once.seconds:.2f}",
            "peak_mib": f"{once.peak / 2**20:.0f}",
            "images_more": TIMES * told.images,
            "seconds_more": f"{more.seconds:.2f}",
            "peak_mib_more": f"{more.peak / 2**20:.0f}",
            "times_the_time": f"{more.seconds / once.seconds:.2f}",
            "times_the_peak": f"{more.peak / once.peak:.3f}",
        }
        record("growth", row)


if __name__ == "__main__":
    main()

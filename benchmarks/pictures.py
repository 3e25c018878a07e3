"""Images with key objects to measure on: noise of photographs' sizes, or the miniatures' scenes."""

import tempfile
from pathlib import Path

import numpy as np
import pandas as pd
from PIL import Image

from benchmarks.config import MINIATURE
from headimpact.annotate.instances import annotate, read_instances
from headimpact.dataset import scenes
from headimpact.dataset.coco import CocoFolder
from headimpact.dataset.samples import draw_images, make_samples
from headimpact.table_kinds import SPLITS

SIZES = ((640, 480), (640, 427), (480, 640), (500, 375))  # COCO's most frequent
DESCRIPTIONS = [f"a {colour} {shape}" for colour in scenes.COLOURS for shape in scenes.SHAPES]
LOOK = scenes.Look(**MINIATURE.dataset.look.model_dump(exclude_none=True))


class Noise:
    """Noise in the place of a CocoFolder; an image is named by its size and number: 640x480-7."""

    def __init__(self):
        self.folder = Path(tempfile.mkdtemp())

    def image(self, name: str) -> Image.Image:
        """The image of that name, RGB."""
        path = self.folder / f"{name}.jpg"
        if not path.exists():
            size, number = name.split("-")
            # coarse, so that decoding it takes about as long as a photograph's
            noise = np.random.default_rng(int(number)).integers(0, 256, (60, 80, 3), np.uint8)
            Image.fromarray(noise).resize(tuple(map(int, size.split("x")))).save(path, quality=90)
        with Image.open(path) as image:
            return image.convert("RGB")


Images = Noise | CocoFolder


def draw(scale: str, **counts: int) -> tuple[Images, pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Images, samples, objects and annotations; counts: images of each split.

    Images of the split `impact` have 3.3 objects each on average, as the authors' release has,
    and as noise 640 x 480 pixels; those of the others have one.
    """
    counts = {**dict.fromkeys(SPLITS, 0), **counts}
    return _scenes(counts) if scale == "miniature" else _noise(counts)


def by_split(
    samples: pd.DataFrame, objects: pd.DataFrame
) -> dict[str, tuple[pd.DataFrame, pd.DataFrame]]:
    """{split: its samples and their objects}."""
    return {
        split: (rows, objects[objects["sample_id"].isin(rows["sample_id"])])
        for split, rows in samples.groupby("split")
    }


def _noise(counts):
    rng = np.random.default_rng(0)
    samples, objects = [], []
    for split in SPLITS:
        for i in range(counts[split]):
            width, height = SIZES[0] if split == "impact" else SIZES[rng.integers(len(SIZES))]
            number = len(samples)
            name = f"{width}x{height}-{number}"
            samples.append((number, number, name, width, height, split))
            count = 1 if split != "impact" else 4 if i % 10 in (1, 4, 7) else 3
            for _ in range(count):
                objects.append((number, len(objects), str(rng.choice(DESCRIPTIONS))))
    columns = ["sample_id", "image_id", "file_name", "width", "height", "split"]
    samples = pd.DataFrame(samples, columns=columns)
    objects = pd.DataFrame(objects, columns=["sample_id", "object_id", "description"])
    annotations = objects.merge(samples, on="sample_id")[["image_id", "description"]]
    return Noise(), samples, objects, annotations


def _scenes(counts):
    root, total = tempfile.mkdtemp(), sum(counts.values())
    # more than the study has, since an image without a usable object drops out
    scenes.write(Path(root), int(1.2 * total) + 20, MINIATURE.dataset.seed, LOOK)
    folder = CocoFolder(root, "scenes")
    images = draw_images(folder.captions(), int(1.1 * total) + 10, 0)
    images = images.assign(annotator="instances", sha256="")
    annotations, dropped = annotate(
        folder, images, "{article} {category}", read_instances(folder, images)
    )
    annotators = dict.fromkeys(SPLITS, "instances")
    limits = {**dict.fromkeys(SPLITS, 1), "impact": None}
    samples, objects, _ = make_samples(
        images, annotations, dropped, counts, annotators, 0.85, limits, "area", 0
    )
    return folder, samples, objects, annotations

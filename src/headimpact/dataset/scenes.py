"""Synthetic scenes: two to four coloured shapes on a textured background, with exact masks.

They replace COCO where it is not available. `write` uses COCO's layout, so that the same code
reads them.
"""

import json
import math
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw
from tqdm import tqdm

from headimpact.dataset.masks import encode

COLOURS = {
    "red": (220, 40, 40),
    "green": (40, 170, 60),
    "blue": (45, 80, 220),
    "yellow": (240, 215, 40),
    "purple": (150, 50, 180),
    "orange": (245, 140, 30),
    "cyan": (60, 210, 220),
    "pink": (245, 140, 190),
}
RADII = {"small": (8, 9), "large": (13, 14)}
SIZES = ((108, 72), (72, 108), (108, 108))  # width, height: multiples of CELL
CELL = 36
VISIBLE = 0.6  # the smallest share of an object that must stay visible


def _star():
    radius = [1 if corner % 2 == 0 else 0.42 for corner in range(10)]
    return [
        (r * math.sin(i * math.pi / 5), -r * math.cos(i * math.pi / 5))
        for i, r in enumerate(radius)
    ]


def _heart():
    return [
        (
            16 * math.sin(t) ** 3 / 17,
            -(13 * math.cos(t) - 5 * math.cos(2 * t) - 2 * math.cos(3 * t) - math.cos(4 * t)) / 17,
        )
        for t in (2 * math.pi * i / 39 for i in range(40))
    ]


_BAR = 0.32
POLYGONS = {  # corners around (0, 0), in units of the radius
    "square": [(-0.85, -0.85), (0.85, -0.85), (0.85, 0.85), (-0.85, 0.85)],
    "triangle": [(0, -1), (1, 0.8), (-1, 0.8)],
    "star": _star(),
    "cross": [
        *((-_BAR, -1), (_BAR, -1), (_BAR, -_BAR), (1, -_BAR), (1, _BAR), (_BAR, _BAR)),
        *((_BAR, 1), (-_BAR, 1), (-_BAR, _BAR), (-1, _BAR), (-1, -_BAR), (-_BAR, -_BAR)),
    ],
    "diamond": [(0, -1), (0.75, 0), (0, 1), (-0.75, 0)],
    "heart": _heart(),
    "arrow": [
        *((-1, -0.35), (0.1, -0.35), (0.1, -0.9), (1, 0), (0.1, 0.9)),
        *((0.1, 0.35), (-1, 0.35)),
    ],
}
SHAPES = ("circle", "ring", "moon", *POLYGONS)


@dataclass(frozen=True)
class Look:
    """What makes scenes hard to describe.

    texture: share of scenes whose background has a texture. jitter: by how many pixels an
    object's centre may differ from the centre of its cell. loose: share of objects that are
    placed anywhere and so may overlap. noise: standard deviation of the noise that is added to
    the image, in grey levels.
    """

    texture: float = 0.8
    jitter: int = 2
    loose: float = 0.2
    noise: float = 0.0


@dataclass(frozen=True)
class SceneObject:
    """A shape in a scene; `mask` is its visible part, bool (height, width)."""

    shape: str
    colour: str
    size: str
    mask: np.ndarray

    @property
    def description(self) -> str:
        """The description of the object, such as "a small red star"."""
        return describe(self.size, self.colour, self.shape)


@dataclass(frozen=True)
class Scene:
    """An image, uint8 (height, width, 3), and its objects in the order of painting."""

    pixels: np.ndarray
    objects: tuple[SceneObject, ...]


def describe(size: str, colour: str, shape: str) -> str:
    """The description of an object, such as "a small red star"."""
    return f"a {size} {colour} {shape}"


@cache
def sprite(shape: str, radius: int, oversampling: int = 4) -> np.ndarray:
    """A centred, antialiased image of a shape, float32 (side, side) from 0 to 1."""
    side = (2 * radius + 4) * oversampling
    canvas = Image.new("L", (side, side), 0)
    draw, centre, r = ImageDraw.Draw(canvas), side / 2, radius * oversampling

    def disc(x, y, r, fill):
        draw.ellipse([x - r, y - r, x + r, y + r], fill=fill)

    if shape in POLYGONS:
        draw.polygon([(centre + x * r, centre + y * r) for x, y in POLYGONS[shape]], fill=255)
    else:
        disc(centre, centre, r, 255)
        if shape == "ring":
            disc(centre, centre, r * 0.5, 0)
        if shape == "moon":
            disc(centre + r * 0.55, centre - r * 0.1, r * 0.85, 0)
    small = canvas.resize((side // oversampling, side // oversampling), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32) / 255


def _texture(rng: np.random.Generator, width: int, height: int) -> np.ndarray:
    """A noisy background of one of four kinds: waves, checks, a gradient or clouds."""
    y, x = np.mgrid[0:height, 0:width].astype(np.float32)
    kind = rng.integers(4)
    if kind == 0:
        frequency, angle = rng.uniform(0.15, 0.7), rng.uniform(0, math.pi)
        pattern = np.sin(frequency * (x * math.cos(angle) + y * math.sin(angle)))
    elif kind == 1:
        side = int(rng.integers(5, 15))
        pattern = ((x // side + y // side) % 2) * 2 - 1
    elif kind == 2:
        angle = rng.uniform(0, 2 * math.pi)
        pattern = (x - width / 2) * math.cos(angle) + (y - height / 2) * math.sin(angle)
        pattern /= max(width, height) / 2
    else:
        coarse = rng.normal(size=(height // 9 + 2, width // 9 + 2)).astype(np.float32)
        clouds = Image.fromarray(coarse).resize((width, height), Image.Resampling.BILINEAR)
        pattern = np.asarray(clouds)
    base = rng.integers(150, 246, 3) if rng.random() < 0.6 else rng.integers(150, 246)
    tint = rng.uniform(12, 32) * rng.uniform(0.6, 1, 3)
    grain = rng.normal(0, rng.uniform(5, 14), (height, width, 1))
    return base + pattern[..., None] * tint + grain


def draw(rng: np.random.Generator, width: int, height: int, look: Look) -> Scene:
    """Draw a scene of `width` x `height` pixels with the generator `rng`.

    Each shape occurs once in a scene, and at least the share VISIBLE of it is visible.
    """
    while True:
        scene = _try_draw(rng, width, height, look)
        if scene is not None:
            return scene


def _try_draw(rng: np.random.Generator, width: int, height: int, look: Look) -> Scene | None:
    """One attempt to draw a scene; None if the others cover too much of an object."""
    count = int(rng.integers(2, 5))
    columns = width // CELL
    cells = rng.permutation(columns * (height // CELL))[:count]
    shapes = rng.permutation(len(SHAPES))[:count]
    if rng.random() < look.texture:
        image = _texture(rng, width, height)
    else:
        image = rng.integers(205, 256) + rng.normal(0, 6, (height, width, 1)) * np.ones(3)
    placed = []
    for cell, shape in zip(cells, shapes, strict=True):
        size = ("small", "large")[rng.integers(2)]
        radius = int(rng.choice(RADII[size]))
        if rng.random() < look.loose:
            x, y = (int(rng.integers(radius + 1, side - radius)) for side in (width, height))
        else:
            inner = rng.choice((-6, 0, 6), 2) if size == "small" else (0, 0)
            x, y = (
                int(index * CELL + CELL // 2 + shift + rng.integers(-look.jitter, look.jitter + 1))
                for index, shift in zip((cell % columns, cell // columns), inner, strict=True)
            )
        colour = list(COLOURS)[rng.integers(len(COLOURS))]
        stencil = _stamp(sprite(SHAPES[shape], radius), x, y, width, height)
        paint = np.clip(np.array(COLOURS[colour]) + rng.normal(0, 10, 3), 0, 255)
        image = image * (1 - stencil[..., None]) + paint * stencil[..., None]
        placed.append((SHAPES[shape], colour, size, stencil > 0.5))
    covered, objects = np.zeros((height, width), bool), []
    for shape, colour, size, mask in reversed(placed):
        visible = mask & ~covered
        if visible.sum() < VISIBLE * mask.sum():
            return None
        covered |= mask
        objects.append(SceneObject(shape, colour, size, visible))
    if look.noise:
        image = image + rng.normal(0, look.noise, image.shape)
    return Scene(np.clip(image, 0, 255).astype(np.uint8), tuple(reversed(objects)))


def _stamp(image: np.ndarray, x: int, y: int, width: int, height: int) -> np.ndarray:
    """`image` pasted with its centre at (x, y) on an empty canvas, float32 (height, width)."""
    canvas = np.zeros((height, width), np.float32)
    left, top = x - image.shape[1] // 2, y - image.shape[0] // 2
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(width, left + image.shape[1]), min(height, top + image.shape[0])
    canvas[y0:y1, x0:x1] = image[y0 - top : y1 - top, x0 - left : x1 - left]
    return canvas


def _captions(rng: np.random.Generator, objects: tuple[SceneObject, ...]) -> list[str]:
    """Five captions of the image; COCO has as many."""
    templates = (
        "{}",
        "a photo of {}",
        "a picture that shows {}",
        "{} in front of a wall",
        "here is {}",
    )
    captions = []
    for template in templates:
        names = [objects[i].description for i in rng.permutation(len(objects))]
        captions.append(template.format(" and ".join(names)))
    return captions


def write(folder: str | Path, images: int, seed: int, look: Look, subset: str = "scenes") -> None:
    """Write `images` scenes below `folder` in COCO's layout.

    The files are {subset}/*.png, annotations/captions_{subset}.json and
    annotations/instances_{subset}.json. An instance has its description as a further key, and
    its mask as compressed RLE. The same seed gives the same bytes.
    """
    folder = Path(folder)
    (folder / subset).mkdir(parents=True, exist_ok=True)
    (folder / "annotations").mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    entries, captions, instances = [], [], []
    for image_id in tqdm(range(1, images + 1), desc="scenes", unit="image"):
        width, height = SIZES[rng.integers(len(SIZES))]
        scene = draw(rng, width, height, look)
        name = f"{image_id:012d}.png"
        Image.fromarray(scene.pixels).save(folder / subset / name)
        entries.append({"id": image_id, "file_name": name, "width": width, "height": height})
        for caption in _captions(rng, scene.objects):
            captions.append({"id": len(captions) + 1, "image_id": image_id, "caption": caption})
        for item in scene.objects:
            ys, xs = np.nonzero(item.mask)
            x, y = int(xs.min()), int(ys.min())
            instances.append(
                {
                    "id": len(instances) + 1,
                    "image_id": image_id,
                    "category_id": SHAPES.index(item.shape) + 1,
                    "description": item.description,
                    "segmentation": {
                        "size": [height, width],
                        "counts": encode(item.mask),
                    },
                    "area": int(item.mask.sum()),
                    "bbox": [x, y, int(xs.max()) - x + 1, int(ys.max()) - y + 1],
                    "iscrowd": 0,
                }
            )
    categories = [
        {"id": i + 1, "name": name, "supercategory": "shape"} for i, name in enumerate(SHAPES)
    ]
    _write_annotations(folder, f"captions_{subset}", {"images": entries, "annotations": captions})
    _write_annotations(
        folder,
        f"instances_{subset}",
        {"images": entries, "annotations": instances, "categories": categories},
    )


def _write_annotations(folder: Path, name: str, content: dict) -> None:
    text = json.dumps(content, separators=(",", ":"))
    (folder / "annotations" / f"{name}.json").write_text(text, encoding="utf-8")

"""Drawn scenes: two to four coloured shapes on a textured background, with exact masks.

They stand in for COCO where it cannot be had. `write` lays them out as COCO does, so that
whatever reads COCO reads them.
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
VISIBLE = 0.6  # least share of an object that others may leave uncovered


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
    """How hard a scene is to read.

    texture: share of scenes whose background has a texture. jitter: pixels that an object's
    centre may lie off its cell's. loose: share of objects placed anywhere, where they may
    overlap others. noise: standard deviation of the whole image's noise, in grey levels.
    """

    texture: float = 0.8
    jitter: int = 2
    loose: float = 0.2
    noise: float = 0.0


@dataclass(frozen=True)
class SceneObject:
    """One shape of a scene; `mask` is its visible part, bool (height, width)."""

    shape: str
    colour: str
    size: str
    mask: np.ndarray

    @property
    def description(self):
        return describe(self.size, self.colour, self.shape)


@dataclass(frozen=True)
class Scene:
    """`pixels`: uint8 (height, width, 3); `objects`: in the order of painting."""

    pixels: np.ndarray
    objects: tuple


def describe(size, colour, shape):
    """The description of an object, as a person would name it."""
    return f"a {size} {colour} {shape}"


@cache
def sprite(shape, radius, finer=4):
    """A shape as float (side, side) in 0 to 1, antialiased, centred."""
    side = (2 * radius + 4) * finer
    canvas = Image.new("L", (side, side), 0)
    draw, centre, r = ImageDraw.Draw(canvas), side / 2, radius * finer

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
    small = canvas.resize((side // finer, side // finer), Image.Resampling.BOX)
    return np.asarray(small, dtype=np.float32) / 255


def _texture(rng, width, height):
    """A background of one of four kinds: waves, checks, a slope or clouds; with noise."""
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


def draw(rng, width, height, look):
    """Draw one scene of `width` x `height` pixels with the generator `rng`.

    Shapes are distinct within a scene; every object keeps at least VISIBLE of its own area.
    """
    while True:
        scene = _try_draw(rng, width, height, look)
        if scene is not None:
            return scene


def _try_draw(rng, width, height, look):
    """One attempt; None if an object came to lie under the others."""
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
                int(place * CELL + CELL // 2 + off + rng.integers(-look.jitter, look.jitter + 1))
                for place, off in zip((cell % columns, cell // columns), inner, strict=True)
            )
        colour = list(COLOURS)[rng.integers(len(COLOURS))]
        stencil = _stamp(sprite(SHAPES[shape], radius), x, y, width, height)
        paint = np.clip(np.array(COLOURS[colour]) + rng.normal(0, 10, 3), 0, 255)
        image = image * (1 - stencil[..., None]) + paint * stencil[..., None]
        placed.append((SHAPES[shape], colour, size, stencil > 0.5))
    covered, objects = np.zeros((height, width), bool), []
    for shape, colour, size, own in reversed(placed):
        visible = own & ~covered
        if visible.sum() < VISIBLE * own.sum():
            return None
        covered |= own
        objects.append(SceneObject(shape, colour, size, visible))
    if look.noise:
        image = image + rng.normal(0, look.noise, image.shape)
    return Scene(np.clip(image, 0, 255).astype(np.uint8), tuple(reversed(objects)))


def _stamp(small, x, y, width, height):
    """`small` pasted with its centre at (x, y) on an empty float canvas, cut at the borders."""
    canvas = np.zeros((height, width), np.float32)
    left, top = x - small.shape[1] // 2, y - small.shape[0] // 2
    x0, y0 = max(0, left), max(0, top)
    x1, y1 = min(width, left + small.shape[1]), min(height, top + small.shape[0])
    canvas[y0:y1, x0:x1] = small[y0 - top : y1 - top, x0 - left : x1 - left]
    return canvas


def _captions(rng, objects):
    """Five captions of the whole image, as COCO has."""
    frames = (
        "{}",
        "a photo of {}",
        "a picture that shows {}",
        "{} in front of a wall",
        "here is {}",
    )
    captions = []
    for frame in frames:
        names = [objects[i].description for i in rng.permutation(len(objects))]
        captions.append(frame.format(" and ".join(names)))
    return captions


def write(folder, images, seed, look, subset="scenes"):
    """Write `images` scenes under `folder` in COCO's layout; the same bytes for the same seed.

    Leaves {subset}/*.png, annotations/captions_{subset}.json and instances_{subset}.json; an
    instance carries its "description" beside COCO's own fields, its mask as compressed RLE.
    """
    folder = Path(folder)
    (folder / subset).mkdir(parents=True, exist_ok=True)
    (folder / "annotations").mkdir(exist_ok=True)
    rng = np.random.default_rng(seed)
    listing, captions, instances = [], [], []
    for image_id in tqdm(range(1, images + 1), desc="scenes", unit="image"):
        width, height = SIZES[rng.integers(len(SIZES))]
        scene = draw(rng, width, height, look)
        name = f"{image_id:012d}.png"
        Image.fromarray(scene.pixels).save(folder / subset / name)
        listing.append({"id": image_id, "file_name": name, "width": width, "height": height})
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
    _dump(folder, f"captions_{subset}", {"images": listing, "annotations": captions})
    _dump(
        folder,
        f"instances_{subset}",
        {"images": listing, "annotations": instances, "categories": categories},
    )


def _dump(folder, name, content):
    text = json.dumps(content, separators=(",", ":"))
    (folder / "annotations" / f"{name}.json").write_text(text, encoding="utf-8")

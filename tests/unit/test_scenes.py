"""Synthetic scenes: reproducible, in COCO's layout, with masks that fit the image."""

import hashlib
import json

import numpy as np
import pytest
from PIL import Image

from headimpact.dataset import scenes
from headimpact.dataset.masks import decode


def content(folder):
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in folder.rglob("*")
        if path.is_file()
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    scenes.write(folder, 40, 7, scenes.Look(loose=0.5))
    return folder


def read(folder, kind):
    return json.loads((folder / f"annotations/{kind}_scenes.json").read_text())


def test_the_same_seed_gives_the_same_bytes(written, tmp_path):
    scenes.write(tmp_path / "again", 40, 7, scenes.Look(loose=0.5))
    scenes.write(tmp_path / "other", 40, 8, scenes.Look(loose=0.5))
    assert content(tmp_path / "again") == content(written)
    assert content(tmp_path / "other") != content(written)


def test_annotations_are_in_the_layout_of_coco(written):
    captions, instances = read(written, "captions"), read(written, "instances")
    assert len(captions["images"]) == 40 and len(captions["annotations"]) == 200
    sizes = {(image["width"], image["height"]) for image in captions["images"]}
    assert sizes == set(scenes.SIZES)
    of_image = [entry["image_id"] for entry in instances["annotations"]]
    assert {of_image.count(image["id"]) for image in captions["images"]} == {2, 3, 4}
    names = {entry["id"]: entry["name"] for entry in instances["categories"]}
    for entry in instances["annotations"]:
        assert entry["description"].split()[-1] == names[entry["category_id"]]


def test_the_pixels_of_a_mask_have_the_colour_of_its_object(written):
    """The median ignores the mixed colours at the edge."""
    images = {image["id"]: image for image in read(written, "captions")["images"]}
    for entry in read(written, "instances")["annotations"]:
        image = images[entry["image_id"]]
        pixels = np.asarray(Image.open(written / "scenes" / image["file_name"]), float)
        mask = decode(entry["segmentation"]["counts"], image["height"], image["width"])
        assert mask.sum() == entry["area"] > 0
        colour = scenes.COLOURS[entry["description"].split()[2]]
        assert np.abs(np.median(pixels[mask], axis=0) - colour).max() < 45


def test_objects_overlap_and_stay_visible():
    rng, overlaps = np.random.default_rng(0), 0
    for _ in range(60):
        scene = scenes.draw(rng, 72, 108, scenes.Look(loose=1.0))
        total = np.sum([item.mask for item in scene.objects], axis=0)
        assert total.max() == 1
        full_areas = {
            (item.shape, item.size): max(
                (scenes.sprite(item.shape, r) > 0.5).sum() for r in scenes.RADII[item.size]
            )
            for item in scene.objects
        }
        smallest = min(i.mask.sum() / full_areas[i.shape, i.size] for i in scene.objects)
        assert smallest > 0.35  # VISIBLE times the ratio of the areas of the two radii
        overlaps += smallest < 0.75
    assert overlaps > 5

"""The annotator `instances`: descriptions from templates, and empty masks."""

import json

import pytest

from headimpact.annotate.instances import annotate, read_instances
from headimpact.dataset import scenes
from headimpact.dataset.coco import CocoFolder
from headimpact.dataset.samples import draw_images
from headimpact.guards import UserError


@pytest.fixture
def folder(tmp_path):
    scenes.write(tmp_path, 3, 1, scenes.Look())
    return CocoFolder(tmp_path, "scenes")


@pytest.mark.parametrize("template", ["{name}", "{", "{0}", "{category.x}", "{category[x]}"])
def test_a_template_that_cannot_be_filled_is_refused(folder, template):
    images = draw_images(folder.captions(), 3, 0)
    with pytest.raises(UserError, match=r"^annotator\.description: "):
        annotate(folder, images, template, read_instances(folder, images))


def test_an_instance_without_a_description_is_described_by_the_template(folder):
    path = folder.root / "annotations/instances_scenes.json"
    content = json.loads(path.read_text())
    del content["annotations"][0]["description"]
    path.write_text(json.dumps(content))
    names = {entry["id"]: entry["name"] for entry in content["categories"]}
    images = draw_images(folder.captions(), 3, 0)
    annotations, _ = annotate(
        folder, images, "template: {category}", read_instances(folder, images)
    )
    templated = [text for text in annotations["description"] if text.startswith("template: ")]
    assert templated == ["template: " + names[content["annotations"][0]["category_id"]]]
    assert len(annotations) == len(content["annotations"])


def test_an_empty_mask_is_returned_with_an_empty_box(folder):
    path = folder.root / "annotations/instances_scenes.json"
    content = json.loads(path.read_text())
    content["annotations"][0]["segmentation"] = [[3, 3] * 3]
    path.write_text(json.dumps(content))
    images = draw_images(folder.captions(), 3, 0)
    annotations, dropped = annotate(folder, images, "{category}", read_instances(folder, images))
    assert len(dropped) == 0
    assert (annotations[["x0", "y0", "x1", "y1"]] == 0).all(axis=1).sum() == 1

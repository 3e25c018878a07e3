"""Image files that are no longer those that a study was drawn from."""

import pytest
from PIL import Image

from headimpact.dataset import scenes
from headimpact.dataset.coco import CocoFolder
from headimpact.guards import UserError

MISSING = 3  # The image of which there was no file when the study was drawn.


@pytest.fixture
def drawn(tmp_path):
    """A folder with four images, and the table "images" that was drawn from it."""
    scenes.write(tmp_path, 4, 0, scenes.Look())
    folder = CocoFolder(tmp_path, "scenes")
    images = folder.captions().drop_duplicates("image_id", ignore_index=True)
    (tmp_path / "scenes" / images["file_name"][MISSING]).unlink()
    return folder, images.assign(sha256=folder.file_hashes(images["file_name"]))


def test_unchanged_files_pass(drawn):
    folder, images = drawn
    assert images["sha256"].str.len().tolist()[:MISSING] == [64] * 3
    assert images["sha256"].isna()[MISSING]
    folder.check_unchanged(images)
    folder.check_unchanged(images.set_index("image_id"))
    folder.check_unchanged(images[:0])


@pytest.mark.parametrize(
    ("number", "message"),
    [
        (1, "not the file that the study was drawn from"),
        (MISSING, "was missing when the study was drawn"),
    ],
)
def test_another_image_under_the_same_name_is_refused(drawn, number, message):
    folder, images = drawn
    name = images["file_name"][number]
    Image.new("RGB", (72, 72)).save(folder.images_folder / name)
    with pytest.raises(UserError) as error:
        folder.check_unchanged(images)
    assert str(error.value).startswith(f"{folder.images_folder / name}: {message}")
    assert "--forcerun captions images" in str(error.value)


def test_a_missing_image_is_called_missing(drawn):
    folder, images = drawn
    path = folder.images_folder / images["file_name"][0]
    path.unlink()
    with pytest.raises(UserError) as error:
        folder.check_unchanged(images)
    assert str(error.value).startswith(f"{path}: missing; download it again")
    with pytest.raises(UserError) as error:
        folder.image(path.name)
    assert str(error.value) == f"{path}: missing; download it again"


def test_a_file_without_its_last_byte_is_refused(drawn):
    folder, images = drawn
    path = folder.images_folder / images["file_name"][2]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(UserError, match=rf"{path.name}: not the file"):
        folder.check_unchanged(images)


def test_a_name_that_leads_out_of_the_folder_is_refused(drawn):
    folder, _ = drawn
    with pytest.raises(UserError, match="not the name of a file"):
        folder.file_hashes(["../annotations/captions_scenes.json"])

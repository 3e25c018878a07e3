"""Images that are not those any more from which a study was drawn."""

import pytest
from PIL import Image

from headimpact.dataset import scenes
from headimpact.dataset.coco import CocoFolder
from headimpact.dataset.unchanged import check_unchanged, digests


@pytest.fixture
def drawn(tmp_path):
    scenes.write(tmp_path, 4, 0, scenes.Look())
    folder = CocoFolder(tmp_path, "scenes")
    images = folder.captions().drop_duplicates("image_id", ignore_index=True)
    (tmp_path / "scenes" / images["file_name"][3]).unlink()
    return folder, images.assign(sha256=digests(folder, images["file_name"]))


def test_what_is_as_it_was_passes(drawn):
    folder, images = drawn
    assert images["sha256"].str.len().tolist()[:3] == [64] * 3 and images["sha256"].isna()[3]
    check_unchanged(folder, images)
    check_unchanged(folder, images.set_index("image_id"))
    check_unchanged(folder, images[:0])


@pytest.mark.parametrize("number", [1, 3])
def test_another_picture_under_the_same_name_is_named(drawn, number):
    """Also where there was none."""
    folder, images = drawn
    name = images["file_name"][number]
    Image.new("RGB", (72, 72)).save(folder.images_folder / name)
    with pytest.raises(ValueError, match=rf"{name}: not the file .* images\.parquet and run again"):
        check_unchanged(folder, images)


def test_a_picture_that_is_gone_is_named(drawn):
    folder, images = drawn
    name = images["file_name"][0]
    (folder.images_folder / name).unlink()
    with pytest.raises(ValueError, match=rf"{name}: not the file"):
        check_unchanged(folder, images)


def test_one_cut_byte_is_named(drawn):
    folder, images = drawn
    path = folder.images_folder / images["file_name"][2]
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ValueError, match=rf"{path.name}: not the file"):
        check_unchanged(folder, images)

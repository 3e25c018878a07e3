"""Kept image features: what is read is what was computed, and damage is told."""

from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from headimpact.models import features

SIZES = [(108, 72), (72, 108), (64, 64)]


class Folder:
    def __init__(self, photo):
        self.photo, self.asked = photo, []

    def image(self, name):
        self.asked.append(name)
        if name == "broken":
            raise ValueError("broken: not an image")
        return self.photo(*SIZES[int(name)])


def test_kept_features_are_those_of_each_image(made, photo, tmp_path, monkeypatch):
    model, family = made
    folder = Folder(photo)
    samples = pd.DataFrame({"sample_id": [7, 3, 5], "file_name": ["0", "1", "2"]})
    computed = list(features.compute(model, family, folder, samples))
    found = [(sample.sample_id, tensor) for sample, tensor in computed]
    assert [sample.sample_id for sample, _ in computed] == [7, 3, 5]
    monkeypatch.setattr(features, "TOGETHER", 2)
    folder = tmp_path / "kept"
    features.write(folder, (one for one in computed[1:]))  # others take its place
    images, size, files = features.write(folder, (one for one in computed))
    assert images == 3 and size == sum(path.stat().st_size for path in folder.iterdir())
    assert sorted(path.name for path in folder.iterdir()) == ["0.safetensors", "2.safetensors"]
    kept = features.read(folder, files)
    assert kept.keys() == {7, 3, 5}
    for (sample, tensor), size in zip(found, SIZES, strict=True):
        (alone,) = family.features(model, family.pixels([photo(*size)]))
        assert tensor.shape[0] == family.grid(*size).tokens
        assert torch.equal(tensor, alone)
        assert torch.equal(kept[sample], alone)


def test_an_image_that_cannot_be_read_ends_it(made, photo):
    model, family = made
    samples = pd.DataFrame({"sample_id": [0, 1], "file_name": ["0", "broken"]})
    images = features.compute(model, family, Folder(photo), samples)
    assert next(images)[0].sample_id == 0
    with pytest.raises(ValueError, match="broken: not an image"):
        next(images)


def test_no_samples_are_no_features(made, photo):
    none = pd.DataFrame({"sample_id": [], "file_name": []})
    assert list(features.compute(*made, Folder(photo), none)) == []


@pytest.fixture
def kept(tmp_path):
    """A folder of one image's features, and what was told of it."""
    one = (SimpleNamespace(sample_id=1), torch.zeros(4, 8))
    *_, files = features.write(tmp_path, (part for part in [one]))
    return tmp_path, files


@pytest.mark.parametrize("damage", ["emptied", "cut", "altered", "foreign"])
def test_a_damaged_file_is_named(kept, damage):
    folder, files = kept
    path = folder / "0.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    if damage == "foreign":
        path.rename(folder / "64.safetensors")
    else:
        told = {"emptied": b"", "cut": content[:-1], "altered": content}
        path.write_bytes(told[damage])
    with pytest.raises(ValueError, match=r"\d\.safetensors: not as it was kept; delete it"):
        features.read(folder, files)


def test_features_that_are_gone_are_no_error(kept):
    folder, files = kept
    (folder / "0.safetensors").unlink()
    assert features.read(folder, files) == {}
    folder.rmdir()
    assert features.read(folder, files) == {}


def test_who_computes_ends_with_a_disk_that_is_full(tmp_path, monkeypatch):
    """Not with the interpreter, which would print what it has to say as a traceback."""

    def full(*_):
        raise OSError(28, "No space left on device")

    computed = (one for one in [(SimpleNamespace(sample_id=1), torch.zeros(4, 8))] * 99)
    monkeypatch.setattr(features, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        features.write(tmp_path, computed)
    assert computed.gi_frame is None

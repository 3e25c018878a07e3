"""Stored image features: those that were computed are loaded, and a damaged file is named."""

import json
from types import SimpleNamespace

import pandas as pd
import pytest
import torch

from headimpact.guards import UserError
from headimpact.models import features

SIZES = [(108, 72), (72, 108), (64, 64)]


class Folder:
    def __init__(self, photo):
        self.photo = photo

    def image(self, name):
        if name == "broken":
            raise UserError("broken: not an image")
        return self.photo(*SIZES[int(name)])


def write_record(path, computed):
    """Store features beside the record `path`, as the rule features does."""
    *counts, files = features.write(path.with_suffix(""), computed)
    path.write_text(json.dumps({"files": files}))
    return counts


def test_stored_features_are_those_of_each_image(model_and_family, photo, tmp_path, monkeypatch):
    model, family = model_and_family
    samples = pd.DataFrame({"sample_id": [7, 3, 5], "file_name": ["0", "1", "2"]})
    computed = list(features.compute(model, family, Folder(photo), samples))
    assert [sample.sample_id for sample, _ in computed] == [7, 3, 5]
    monkeypatch.setattr(features, "IMAGES_PER_FILE", 2)
    folder, record = tmp_path / "features", tmp_path / "features.json"
    write_record(record, (pair for pair in computed[1:]))  # replaced by what follows
    images, size = write_record(record, (pair for pair in computed))
    assert images == 3 and size == sum(path.stat().st_size for path in folder.iterdir())
    assert sorted(path.name for path in folder.iterdir()) == ["0.safetensors", "2.safetensors"]
    stored = features.load(record)
    assert stored.keys() == {7, 3, 5}
    for (sample, tensor), size in zip(computed, SIZES, strict=True):
        (alone,) = family.features(model, family.pixels([photo(*size)]))
        assert tensor.shape[0] == family.grid(*size).tokens
        assert torch.equal(tensor, alone)
        assert torch.equal(stored[sample.sample_id], alone)


def test_features_that_are_not_stored_are_computed(model_and_family, photo):
    model, family = model_and_family
    samples = pd.DataFrame({"sample_id": [7, 3, 5], "file_name": ["broken", "1", "broken"]})
    stored = {5: torch.full((4, 8), 5.0), 7: torch.full((4, 8), 7.0)}
    loaded = list(features.load_or_compute(model, family, Folder(photo), samples, stored))
    assert [sample.sample_id for sample, _ in loaded] == [7, 5, 3]  # the stored ones first
    (alone,) = family.features(model, family.pixels([photo(*SIZES[1])]))
    for (_, tensor), expected in zip(loaded, [stored[7], stored[5], alone], strict=True):
        assert torch.equal(tensor, expected)


def test_an_image_that_cannot_be_read_ends_the_generator(model_and_family, photo):
    model, family = model_and_family
    samples = pd.DataFrame({"sample_id": [0, 1], "file_name": ["0", "broken"]})
    images = features.compute(model, family, Folder(photo), samples)
    assert next(images)[0].sample_id == 0
    with pytest.raises(UserError, match=r"^broken: "):
        next(images)


def test_no_samples_are_no_features(model_and_family, photo):
    no_samples = pd.DataFrame({"sample_id": [], "file_name": []})
    assert list(features.compute(*model_and_family, Folder(photo), no_samples)) == []


@pytest.fixture
def record(tmp_path):
    """The record of one image's features."""
    path = tmp_path / "features.json"
    write_record(path, (pair for pair in [(SimpleNamespace(sample_id=1), torch.zeros(4, 8))]))
    return path


@pytest.mark.parametrize("damage", ["emptied", "cut", "altered", "foreign"])
def test_a_damaged_file_is_named(record, damage):
    path = record.with_suffix("") / "0.safetensors"
    content = bytearray(path.read_bytes())
    content[-1] ^= 1
    if damage == "foreign":
        path = path.rename(path.with_name("64.safetensors"))
    else:
        path.write_bytes({"emptied": b"", "cut": content[:-1], "altered": content}[damage])
    with pytest.raises(UserError) as error:
        features.load(record)
    assert str(error.value).startswith(f"{path}: ") and "delete it" in str(error.value)


def test_a_file_is_read_only_if_it_holds_a_sample_that_is_asked_for(record):
    path = record.with_suffix("") / "0.safetensors"
    asked, others = (pd.DataFrame({"sample_id": ids}) for ids in ([0, 1], [0, 2]))
    assert features.load(record, asked).keys() == {1}
    path.write_bytes(path.read_bytes()[:-1])
    assert features.load(record, others) == {}
    with pytest.raises(UserError, match=path.name):
        features.load(record, asked)
    path.rename(path.with_name("64.safetensors"))
    with pytest.raises(UserError, match=r"64\.safetensors"):  # of which the record knows nothing
        features.load(record, others)


def test_deleted_features_are_no_error(record):
    folder = record.with_suffix("")
    (folder / "0.safetensors").unlink()
    assert features.load(record) == {}
    folder.rmdir()
    assert features.load(record) == {}


def test_without_a_record_nothing_is_stored():
    assert features.load(None) == {}


def test_a_full_disk_closes_the_generator_of_features(tmp_path, monkeypatch):
    """One that is left open prints a traceback of its own when the interpreter exits."""

    def full(*_):
        raise OSError(28, "No space left on device")

    computed = (pair for pair in [(SimpleNamespace(sample_id=1), torch.zeros(4, 8))] * 99)
    monkeypatch.setattr(features, "save_file", full)
    with pytest.raises(OSError, match="No space left"):
        features.write(tmp_path, computed)
    assert computed.gi_frame is None

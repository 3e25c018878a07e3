"""Unpacking archives: selected members, damaged archives, and unsafe members."""

import errno
import os
import random
import stat
import zipfile

import pytest

from headimpact.fetch import archive as module
from headimpact.fetch.archive import unpack
from headimpact.guards import UnavailableError, UserError

PHOTO = random.Random(0).randbytes(3000) * 2


@pytest.fixture
def archive(tmp_path):
    return tmp_path / "a zip.zip"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "out/put"


@pytest.fixture
def error_of(archive, folder):
    """The message of a call of unpack that raises UserError: one line that names the archive."""

    def error_of(members, member=None, **options):
        with pytest.raises(UserError, match=r"a zip\.zip.*; ") as caught:
            unpack(archive, members, folder, **options)
        message = str(caught.value)
        assert len(message.splitlines()) == 1 and (member is None or repr(member) in message)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
        assert set(archive.parent.rglob("*")) <= {archive, folder, folder.parent}
        return message

    return error_of


def pack(archive, content, compression=zipfile.ZIP_DEFLATED, **attributes):
    """Write a zip file of {name: bytes}; `attributes` go to the members' ZipInfo."""
    with zipfile.ZipFile(archive, "w", compression) as file:
        for name, data in content.items():
            info = zipfile.ZipInfo("x")
            info.filename, info.compress_type = name, compression
            for key, value in attributes.items():
                setattr(info, key, value)
            file.writestr(info, data)


def unchanged(name):
    return name


def edit(archive, field, value, length=4):
    """Set a number, given by its offset, in the entry of the only member in the directory."""
    data = bytearray(archive.read_bytes())
    start = data.index(b"PK\x01\x02") + field
    data[start : start + length] = value.to_bytes(length, "little")
    archive.write_bytes(data)


FLAGS, METHOD, CRC, SIZE = 8, 10, 16, 24  # offsets of an entry's fields


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
def test_only_the_selected_members_are_written(archive, folder, compression):
    content = {"v/": b"", "v/a.jpg": PHOTO, "v/b.jpg": b"b", "notes/c.json": b"", "v/d.png": b"d"}
    pack(archive, content, compression)
    photos = unpack(archive, lambda name: name[2:] if name.endswith(".jpg") else None, folder)
    assert photos == [folder / "a.jpg", folder / "b.jpg"]
    notes = unpack(str(archive), {"notes/c.json": "deep/er/c.json"}, str(folder))
    assert notes == [folder / "deep/er/c.json"]
    files = {file.relative_to(folder).as_posix(): file for file in folder.rglob("*.*")}
    assert {name: file.read_bytes() for name, file in files.items()} == {
        "a.jpg": PHOTO,
        "b.jpg": b"b",
        "deep/er/c.json": b"",
    }


def test_names_may_have_spaces_and_letters_of_any_alphabet(archive, folder):
    names = ["a b/ü 猫.jpg", "a b/..x", "a b/x..y.jpg", "ab:c"]
    pack(archive, dict.fromkeys(names, b"x"))
    assert unpack(archive, unchanged, folder) == [folder / name for name in names]
    assert all((folder / name).read_bytes() == b"x" for name in names)


def test_existing_files_are_replaced(archive, folder):
    pack(archive, {"a": b"new"})
    folder.mkdir(parents=True)
    (folder / "a").write_bytes(b"old content")
    (folder / "a.partial").write_bytes(b"of a run that was killed")
    unpack(archive, unchanged, folder)
    assert (folder / "a").read_bytes() == b"new" and os.listdir(folder) == ["a"]


def test_a_file_appears_only_once_it_is_complete(archive, folder, monkeypatch):
    pack(archive, {"a": PHOTO})
    monkeypatch.setattr(module, "CHUNK", 1000)
    sizes = []

    class Bar(module.tqdm):
        def update(self, n=1):
            sizes.append(n)
            assert os.listdir(folder) == ["a.partial"]

    monkeypatch.setattr(module, "tqdm", Bar)
    unpack(archive, unchanged, folder)
    assert os.listdir(folder) == ["a"] and sizes == [1000] * 6


def test_progress_is_reported(archive, folder, capsys):
    pack(archive, {"a": PHOTO})
    unpack(archive, unchanged, folder)
    assert "a zip.zip: 100%" in capsys.readouterr().err


OUTSIDE = [
    *("/x", "//x", "../x", "a/../../x", "a/..", "..", "..\\x", "a\\..\\x", "\\x"),
    *("C:x", "c:/x", "C:\\x", "\\\\host\\x"),
]


@pytest.mark.parametrize("name", OUTSIDE)
def test_names_that_lead_out_of_the_folder_are_refused(archive, error_of, name):
    pack(archive, {"fine": b"x", name: b"x"})
    assert "may lead out" in error_of(unchanged, name)
    assert "may lead out" in error_of({"fine": "fine", name: "harmless"}, name)


@pytest.mark.parametrize("target", [*OUTSIDE, "", ".", "a/", "a/.", "a\0b"])
def test_targets_that_lead_out_of_the_folder_are_refused(archive, error_of, target):
    pack(archive, {"a": b"x", "b": b"x"})
    assert repr(target) in error_of({"a": "fine", "b": target}, "b")
    error_of(lambda name: {"a": "fine", "b": target}[name], "b")


def test_unsafe_members_that_are_not_selected_are_ignored(archive, folder):
    pack(archive, {"../x": b"x", "a": b"a"})
    assert unpack(archive, {"a": "a"}, folder) == [folder / "a"]


@pytest.mark.parametrize("kind", [stat.S_IFLNK, stat.S_IFIFO, stat.S_IFCHR, stat.S_IFDIR])
def test_links_and_devices_are_refused(archive, error_of, kind):
    pack(archive, {"a": b"/etc"}, external_attr=(kind | 0o777) << 16)
    assert "link" in error_of(unchanged, "a")


def test_files_are_written_without_executable_permission(archive, folder):
    pack(archive, {"a": b"x"}, external_attr=(stat.S_IFREG | 0o4777) << 16)
    (target,) = unpack(archive, unchanged, folder)
    assert not target.stat().st_mode & 0o7111


def test_encrypted_members_are_refused(archive, error_of):
    pack(archive, {"a": b"x"})
    edit(archive, FLAGS, 1, 2)
    assert "encrypted" in error_of(unchanged, "a")


@pytest.mark.parametrize("compression", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_other_compression_methods_are_refused(archive, error_of, compression):
    pack(archive, {"a": b"x"}, compression)
    assert "method" in error_of(unchanged, "a")


def test_a_member_above_the_limit_is_refused(archive, folder, error_of):
    pack(archive, {"a": b"x" * 1000})
    assert "1000 bytes, more than 999" in error_of(unchanged, "a", max_bytes=999)
    assert unpack(archive, unchanged, folder, max_bytes=1000)


def test_the_limit_is_two_gibibytes(archive, error_of):
    pack(archive, {"a": b"x"})
    edit(archive, SIZE, (2 << 30) + 1)
    assert "more than 2147483648" in error_of(unchanged, "a")


def test_a_member_that_is_larger_than_it_declares_is_refused(archive, error_of, monkeypatch):
    pack(archive, {"a": bytes(50 << 20)})
    edit(archive, SIZE, 100)
    written = []
    monkeypatch.setattr(module.tqdm, "update", lambda _, n: written.append(n))
    assert "damaged" in error_of(unchanged, "a") and sum(written) <= 100


def test_a_member_that_is_smaller_than_it_declares_is_refused(archive, error_of):
    pack(archive, {"a": b"x" * 99})
    edit(archive, SIZE, 100)
    assert "99 bytes of 100" in error_of(unchanged, "a")


def test_two_members_with_the_same_target_are_refused(archive, error_of):
    pack(archive, {"a": b"x", "b": b"y"})
    assert "over another" in error_of(lambda _: "c", "b")


@pytest.mark.parametrize("missing", ["b", "A", "v", "v/"])
def test_a_missing_member_is_named(archive, error_of, missing):
    pack(archive, {"a": b"x", "v/": b"", "v/a": b""})
    error_of({"a": "a", missing: "b"}, missing)


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED])
@pytest.mark.parametrize("position", [0.2, 0.5, 0.8])
def test_a_flipped_byte_of_a_member_is_detected(archive, error_of, compression, position):
    pack(archive, {"a": PHOTO}, compression)
    data = bytearray(archive.read_bytes())
    data[int(position * len(data))] ^= 0x10
    archive.write_bytes(data)
    assert "damaged" in error_of(unchanged, "a")


def test_no_flipped_byte_alters_a_file_unnoticed(archive, folder):
    """Some bytes, such as the time of modification, do not matter."""
    pack(archive, {"ä": b"content" * 3})
    data = archive.read_bytes()
    for i in range(len(data)):
        archive.write_bytes(data[:i] + bytes([data[i] ^ 0xFF]) + data[i + 1 :])
        try:
            (target,) = unpack(archive, lambda _: "x", folder)
        except UserError as error:
            assert len(str(error).splitlines()) == 1 and "a zip.zip" in str(error)
        else:
            assert target.read_bytes() == b"content" * 3


@pytest.mark.parametrize("content", [b"", b"<html>no</html>", b"PK\x03\x04" + bytes(90)])
def test_a_file_that_is_not_a_zip_archive_is_refused(archive, error_of, content):
    archive.write_bytes(content)
    assert "delete it and run again" in error_of(unchanged)


@pytest.mark.parametrize("share", [0.1, 0.5, 0.99])
def test_a_truncated_archive_is_refused(archive, error_of, share):
    pack(archive, {"a": PHOTO})
    archive.write_bytes(archive.read_bytes()[: int(share * archive.stat().st_size)])
    assert "delete it and run again" in error_of(unchanged)


def test_a_full_disk_is_reported(archive, folder, monkeypatch):
    pack(archive, {"a": PHOTO})

    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(module.tqdm, "update", full)
    with pytest.raises(UnavailableError, match=rf"a zip.*{os.strerror(errno.ENOSPC)}") as caught:
        unpack(archive, unchanged, folder)
    assert str(folder) in str(caught.value) and os.listdir(folder) == []


def test_a_missing_archive_is_reported(archive, folder):
    with pytest.raises(UnavailableError, match=r"a zip\.zip: .*No such file"):
        unpack(archive, unchanged, folder)

"""The authors' release is downloaded at its commit, completely or not at all."""

import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from headimpact.dataset.release import Release
from headimpact.fetch.release import fetch
from headimpact.guards import UnavailableError, UserError


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    process = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return process.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    """A repository and its first commit; the second commit changes a mask."""
    folder = tmp_path / "theirs"
    (folder / "masks").mkdir(parents=True)
    (folder / "dataset_masks.json").write_text("[]")
    (folder / "masks/e0o0m0.npz").write_bytes(b"first")
    (folder / "notebook.ipynb").write_text("{}")
    git(folder, "init", "--quiet")
    git(folder, "config", "uploadpack.allowAnySHA1InWant", "true")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "a release")
    commit = git(folder, "rev-parse", "HEAD")
    (folder / "masks/e0o0m0.npz").write_bytes(b"second")
    git(folder, "commit", "--quiet", "-am", "changed")
    return folder, commit


def test_the_given_commit_is_downloaded_and_not_a_later_one(repository, tmp_path):
    folder, commit = repository
    release = tmp_path / "new/folder/ours"
    fetch(folder.as_uri(), commit, release)
    assert sorted(path.name for path in release.iterdir()) == ["dataset_masks.json", "masks"]
    assert (release / "masks/e0o0m0.npz").read_bytes() == b"first"
    Release(release).check()


def test_files_of_an_interrupted_download_are_replaced(repository, tmp_path):
    folder, commit = repository
    (tmp_path / "ours/.git").mkdir(parents=True)
    (tmp_path / "ours/masks").mkdir()
    (tmp_path / "ours/masks/e9o9m0.npz").write_bytes(b"of another commit")
    fetch(folder.as_uri(), commit, tmp_path / "ours")
    Release(tmp_path / "ours").check()
    assert [path.name for path in (tmp_path / "ours/masks").iterdir()] == ["e0o0m0.npz"]


def test_links_are_not_followed(repository, tmp_path):
    folder, _ = repository
    (folder / "masks/e0o1m0.npz").symlink_to("/etc/passwd")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "a link")
    fetch(folder.as_uri(), git(folder, "rev-parse", "HEAD"), tmp_path / "ours")
    assert (tmp_path / "ours/masks/e0o1m0.npz").read_bytes() == b"/etc/passwd"
    assert not (tmp_path / "ours/masks/e0o1m0.npz").is_symlink()


@pytest.mark.parametrize(
    ("name", "value"),
    [
        *(("GIT_DIR", ".git"), ("GIT_WORK_TREE", "."), ("GIT_INDEX_FILE", ".git/index")),
        ("GIT_OBJECT_DIRECTORY", ".git/objects"),
    ],
)
def test_the_repository_of_a_running_git_hook_is_not_changed(
    repository, tmp_path, monkeypatch, name, value
):
    """Git passes the location of the repository to its hooks in these variables."""
    folder, commit = repository
    outer = tmp_path / "outer"
    (outer / "masks").mkdir(parents=True)
    (outer / "masks/e0o0m0.npz").write_bytes(b"outer")
    git(outer, "init", "--quiet")
    git(outer, "add", ".")
    files = {path: path.read_bytes() for path in outer.rglob("*") if path.is_file()}
    monkeypatch.setenv(name, str(outer / value))
    fetch(folder.as_uri(), commit, tmp_path / "ours")
    assert (tmp_path / "ours/masks/e0o0m0.npz").read_bytes() == b"first"
    assert {path: path.read_bytes() for path in outer.rglob("*") if path.is_file()} == files


def test_files_that_are_not_a_release_are_deleted(repository, tmp_path):
    folder, _ = repository
    (folder / "dataset_masks.json").write_text("{}")
    git(folder, "commit", "--quiet", "-am", "broken")
    with pytest.raises(UserError, match=r"dataset_masks\.json: "):
        fetch(folder.as_uri(), git(folder, "rev-parse", "HEAD"), tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def test_an_interrupted_download_leaves_no_files(tmp_path, monkeypatch):
    def interrupted(*_, **__):
        assert (tmp_path / "ours").is_dir()
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch("https://example.org/r", "c" * 40, tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def test_a_relative_path_starts_at_the_working_directory(repository, tmp_path, monkeypatch):
    folder, commit = repository
    monkeypatch.chdir(folder.parent)
    fetch(folder.name, commit, "ours")
    Release(tmp_path / "ours").check()


def test_a_folder_without_a_repository_is_refused(tmp_path):
    with pytest.raises(UnavailableError, match=r"fatal: .* not appear to be a git repository"):
        fetch(str(tmp_path), "c" * 40, tmp_path / "ours")


def error_of(url, commit, folder):
    """The message of a fetch that fails: one line with the address and a key to change."""
    with pytest.raises(UnavailableError, match=r"annotator\.release") as error:
        fetch(url, commit, folder)
    assert "\n" not in str(error.value) and url in str(error.value)
    assert not folder.exists()
    return str(error.value)


def test_a_commit_that_does_not_exist_is_refused(repository, tmp_path):
    error_of(repository[0].as_uri(), "0" * 40, tmp_path / "ours")


def test_altered_contents_are_refused(repository, tmp_path):
    folder, commit = repository
    blob = git(folder, "rev-parse", f"{commit}:masks/e0o0m0.npz")
    other = git(folder, "rev-parse", "HEAD:masks/e0o0m0.npz")
    objects = folder / ".git/objects"
    target = objects / blob[:2] / blob[2:]
    target.chmod(0o600)
    target.write_bytes((objects / other[:2] / other[2:]).read_bytes())
    error_of(folder.as_uri(), commit, tmp_path / "ours")


@pytest.fixture
def server(monkeypatch):
    """A server that refuses everything with `server.status`."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_response(self.server.status)
            self.send_header("WWW-Authenticate", "Basic")
            self.send_header("Content-Length", "0")
            self.end_headers()

        def log_message(self, *_):
            pass

    for name in ("GIT_ASKPASS", "SSH_ASKPASS"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("status", [401, 403, 404, 500])
def test_a_refusal_of_the_server_is_reported(server, tmp_path, status):
    server.status = status
    message = error_of(f"http://127.0.0.1:{server.server_port}/r", "c" * 40, tmp_path / "ours")
    assert status != 401 or "terminal prompts disabled" in message


@pytest.mark.parametrize("status", [401, 403, 404])
def test_messages_do_not_contain_credentials_of_the_address(server, tmp_path, status):
    server.status = status
    url = f"http://user:secret@127.0.0.1:{server.server_port}/r"
    with pytest.raises(UnavailableError, match=r"127\.0\.0\.1.*annotator\.release") as error:
        fetch(url, "c" * 40, tmp_path / "ours")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("script", "reason"),
    [
        ("printf 'hint\\nfatal: \\377\\n' >&2", "fatal: \ufffd"),
        ("printf 'first\\nlast\\n' >&2", "last"),
        ("", "git failed"),
        ('echo "$LC_ALL $HOME" >&2', "C /home/me"),
    ],
)
def test_the_message_contains_the_reason_that_git_prints(tmp_path, monkeypatch, script, reason):
    (tmp_path / "git").write_text(f"#!/bin/sh\n{script}\nexit 1\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", "/home/me")
    message = error_of("https://example.org/r", "c" * 40, tmp_path / "ours")
    assert message.startswith(f"https://example.org/r at {'c' * 40}: {reason}; ")


def test_a_missing_git_is_reported(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(UnavailableError, match=r"git .*annotator\.release"):
        fetch("https://example.org/r", "c" * 40, tmp_path / "ours")

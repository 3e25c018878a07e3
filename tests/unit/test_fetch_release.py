"""The authors' release comes from its commit, whole or not at all."""

import subprocess
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from headimpact.dataset.release import Release
from headimpact.fetch.release import fetch


def git(folder, *arguments):
    identity = ["-c", "user.name=a", "-c", "user.email=a@b"]
    done = subprocess.run(
        ["git", *identity, *arguments], cwd=folder, capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture
def repository(tmp_path):
    """A repository with a release in its first commit, and without it in its second."""
    folder = tmp_path / "theirs"
    (folder / "masks").mkdir(parents=True)
    (folder / "dataset_masks.json").write_text("[]")
    (folder / "masks/e0o0m0.npz").write_bytes(b"one")
    (folder / "notebook.ipynb").write_text("{}")
    git(folder, "init", "--quiet")
    git(folder, "config", "uploadpack.allowAnySHA1InWant", "true")
    git(folder, "add", ".")
    git(folder, "commit", "--quiet", "-m", "a release")
    commit = git(folder, "rev-parse", "HEAD")
    (folder / "masks/e0o0m0.npz").write_bytes(b"another")
    git(folder, "commit", "--quiet", "-am", "changed")
    return folder, commit


def test_the_commit_is_fetched_and_not_what_follows_it(repository, tmp_path):
    folder, commit = repository
    fetch(folder.as_uri(), commit, tmp_path / "ours")
    assert sorted(path.name for path in (tmp_path / "ours").iterdir()) == [
        "dataset_masks.json",
        "masks",
    ]
    assert (tmp_path / "ours/masks/e0o0m0.npz").read_bytes() == b"one"
    Release(tmp_path / "ours").check()


def test_what_an_interrupted_fetch_left_is_no_hindrance(repository, tmp_path):
    folder, commit = repository
    (tmp_path / "ours/.git").mkdir(parents=True)
    fetch(folder.as_uri(), commit, tmp_path / "ours")
    Release(tmp_path / "ours").check()


def test_a_path_is_meant_from_where_one_stands(repository, tmp_path, monkeypatch):
    folder, commit = repository
    monkeypatch.chdir(folder.parent)
    fetch(folder.name, commit, "ours")
    Release(tmp_path / "ours").check()


def test_what_is_no_repository_is_told(tmp_path):
    with pytest.raises(OSError, match=r"fatal: .* not appear to be a git repository"):
        fetch(str(tmp_path), "c" * 40, tmp_path / "ours")


def refused(url, commit, folder):
    with pytest.raises(OSError, match=r"annotator\.release") as error:
        fetch(url, commit, folder)
    assert "\n" not in str(error.value) and url in str(error.value)
    assert not folder.exists()


def test_another_commit_is_refused(repository, tmp_path):
    refused(repository[0].as_uri(), "0" * 40, tmp_path / "ours")


def test_altered_contents_are_refused(repository, tmp_path):
    folder, commit = repository
    blob = git(folder, "rev-parse", f"{commit}:masks/e0o0m0.npz")
    other = git(folder, "rev-parse", "HEAD:masks/e0o0m0.npz")
    objects = folder / ".git/objects"
    target = objects / blob[:2] / blob[2:]
    target.chmod(0o600)
    target.write_bytes((objects / other[:2] / other[2:]).read_bytes())
    refused(folder.as_uri(), commit, tmp_path / "ours")


@pytest.mark.parametrize("status", [403, 404, 500])
def test_a_server_that_refuses_is_told_in_a_line(tmp_path, monkeypatch, status):
    class Handler(BaseHTTPRequestHandler):
        def do_GET(self):
            self.send_error(status)

        def log_message(self, *_):
            pass

    monkeypatch.setenv("no_proxy", "127.0.0.1")
    server = HTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        refused(f"http://127.0.0.1:{server.server_port}/r", "c" * 40, tmp_path / "ours")
    finally:
        server.shutdown()


def test_without_git_the_mend_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OSError, match="git is not installed; install it, or name a folder"):
        fetch("https://example.org/r", "c" * 40, tmp_path / "ours")

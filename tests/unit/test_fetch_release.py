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
    ours = tmp_path / "new/folder/ours"
    fetch(folder.as_uri(), commit, ours)
    assert sorted(path.name for path in ours.iterdir()) == ["dataset_masks.json", "masks"]
    assert (ours / "masks/e0o0m0.npz").read_bytes() == b"one"
    Release(ours).check()


def test_what_an_interrupted_fetch_left_is_no_hindrance(repository, tmp_path):
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
def test_the_repository_that_runs_us_is_left_alone(repository, tmp_path, monkeypatch, name, value):
    """Git tells its hooks where theirs is."""
    folder, commit = repository
    around = tmp_path / "around"
    (around / "masks").mkdir(parents=True)
    (around / "masks/e0o0m0.npz").write_bytes(b"mine")
    git(around, "init", "--quiet")
    git(around, "add", ".")
    files = {path: path.read_bytes() for path in around.rglob("*") if path.is_file()}
    monkeypatch.setenv(name, str(around / value))
    fetch(folder.as_uri(), commit, tmp_path / "ours")
    assert (tmp_path / "ours/masks/e0o0m0.npz").read_bytes() == b"one"
    assert {path: path.read_bytes() for path in around.rglob("*") if path.is_file()} == files


def test_what_is_no_release_is_not_kept(repository, tmp_path):
    folder, _ = repository
    (folder / "dataset_masks.json").write_text("{}")
    git(folder, "commit", "--quiet", "-am", "broken")
    with pytest.raises(ValueError, match="not a list of samples"):
        fetch(folder.as_uri(), git(folder, "rev-parse", "HEAD"), tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


def test_an_interrupted_fetch_leaves_nothing(tmp_path, monkeypatch):
    def interrupted(*_, **__):
        assert (tmp_path / "ours").is_dir()
        raise KeyboardInterrupt

    monkeypatch.setattr(subprocess, "run", interrupted)
    with pytest.raises(KeyboardInterrupt):
        fetch("https://example.org/r", "c" * 40, tmp_path / "ours")
    assert not (tmp_path / "ours").exists()


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
    return str(error.value)


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
def test_a_server_that_refuses_is_told_in_a_line(server, tmp_path, status):
    server.status = status
    told = refused(f"http://127.0.0.1:{server.server_port}/r", "c" * 40, tmp_path / "ours")
    assert status != 401 or "terminal prompts disabled" in told


@pytest.mark.parametrize("status", [401, 403, 404])
def test_credentials_of_an_address_are_not_told(server, tmp_path, status):
    server.status = status
    url = f"http://user:secret@127.0.0.1:{server.server_port}/r"
    with pytest.raises(OSError, match=r"127\.0\.0\.1.*annotator\.release") as error:
        fetch(url, "c" * 40, tmp_path / "ours")
    assert "secret" not in str(error.value)


@pytest.mark.parametrize(
    ("says", "reason"),
    [
        ("printf 'hint\\nfatal: \\377\\n' >&2", "fatal: \ufffd"),
        ("printf 'first\\nlast\\n' >&2", "last"),
        ("", "git failed"),
        ('echo "$LC_ALL $HOME" >&2', "C /home/me"),
    ],
)
def test_gits_last_line_is_told_whatever_it_says(tmp_path, monkeypatch, says, reason):
    (tmp_path / "git").write_text(f"#!/bin/sh\n{says}\nexit 1\n")
    (tmp_path / "git").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("HOME", "/home/me")
    told = refused("https://example.org/r", "c" * 40, tmp_path / "ours")
    assert told.startswith(f"https://example.org/r at {'c' * 40}: {reason}; run again")


def test_without_git_the_mend_is_told(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(OSError, match="git is not installed; install it, or name a folder"):
        fetch("https://example.org/r", "c" * 40, tmp_path / "ours")

"""Downloads that are interrupted, refused or wrong, from a server on this machine."""

import errno
import hashlib
import os
import random
import signal
import socket
import subprocess
import sys
import threading
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from headimpact.fetch import http as download
from headimpact.guards import UnavailableError, UserError

BODY = random.Random(0).randbytes(20 * download.CHUNK + 77)
SIZE, MD5 = len(BODY), hashlib.md5(BODY).hexdigest()
PART = 4 * download.CHUNK


class Handler(BaseHTTPRequestHandler):
    """Responds as `server.responses` says: each entry once, and the last of them repeatedly.

    status, headers, body: replace the correct ones; a header that is None is omitted. ranges:
    False ignores the header Range. stop: how many bytes of the body are sent. more: sends further
    bytes after the body. stall: keeps the connection open after the body.
    """

    def do_GET(self):
        server, byte_range = self.server, self.headers["Range"]
        server.requests.append(byte_range)
        server.encodings.append(self.headers["Accept-Encoding"])
        server.path_existed.append(server.path.exists())
        answer = server.responses.pop(0) if len(server.responses) > 1 else server.responses[0]
        body, start = answer.get("body", BODY), 0
        if byte_range and answer.get("ranges", True):
            start = int(byte_range.removeprefix("bytes=").removesuffix("-"))
        headers = {"Content-Length": str(len(body) - start)}
        if start:
            headers["Content-Range"] = f"bytes {start}-{len(body) - 1}/{len(body)}"
        self.send_response(answer.get("status", 206 if start else 200))
        for name, value in (headers | answer.get("headers", {})).items():
            if value is not None:
                self.send_header(name, value)
        self.end_headers()
        stop = answer.get("stop", len(body))
        self.wfile.write(body[start : start + stop])
        try:
            for _ in range(100 if answer.get("more") else 0):
                self.wfile.write(bytes(1 << 20))
        except OSError:
            server.disconnected.set()
        if answer.get("stall"):
            server.stopping.wait(30)

    def do_CONNECT(self):
        self.server.requests.append(self.path)
        self.send_error(407)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """Ignore clients that close the connection."""


@pytest.fixture
def path(tmp_path):
    return tmp_path / "a file.zip"


@pytest.fixture
def partial(path):
    return path.with_name("a file.zip.partial")


@pytest.fixture
def server(path, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY", "https_proxy", "HTTPS_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    monkeypatch.setattr(download, "PAUSE", 0)
    with Server(("127.0.0.1", 0), Handler) as server:
        server.url = f"http://127.0.0.1:{server.server_port}/zips/a.zip"
        server.path, server.responses = path, [{}]
        server.requests, server.encodings, server.path_existed = [], [], []
        server.stopping, server.disconnected = threading.Event(), threading.Event()
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.stopping.set()
        server.shutdown()


@pytest.fixture
def get(server, path, partial):
    """fetch, with a check that `path` never exists before it is complete."""

    def get(url=server.url, **options):
        options = {"timeout": 5, "attempts": 3} | options
        try:
            download.fetch(url, path, SIZE, MD5, **options)
        finally:
            assert not any(server.path_existed)
            assert not path.exists() or (path.read_bytes() == BODY and not partial.exists())
            assert {file.name for file in path.parent.iterdir()} <= {path.name, partial.name}

    return get


@pytest.fixture
def error_of(server, get):
    """The message of a fetch that fails: one line with the address and the key to change."""

    def error_of(kind, **options):
        with pytest.raises(UserError) as caught:
            get(**options)
        message = str(caught.value)
        assert type(caught.value) is kind
        assert len(message.splitlines()) == 1
        assert server.url in message and (" dataset.root" in message or " downloads." in message)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
        return message

    return error_of


def ranges(*starts):
    """The headers Range of requests that start at these bytes."""
    return [f"bytes={start}-" if start else None for start in starts]


def test_a_file_is_downloaded_into_a_new_folder(server, path):
    target = path.parent / "new/folder/x.zip"
    download.fetch(server.url, str(target), SIZE, MD5.upper())
    assert target.read_bytes() == BODY and server.requests == [None]


def test_a_complete_file_is_not_downloaded_again(server, path):
    path.write_bytes(BODY)
    download.fetch(server.url, path, SIZE, MD5)
    assert server.requests == []


@pytest.mark.parametrize("content", [BODY[:-1], BODY[:-1] + b"x", BODY + b"x", b""])
def test_a_wrong_file_is_downloaded_again(server, path, content):
    path.write_bytes(content)
    download.fetch(server.url, path, SIZE, MD5)
    assert path.read_bytes() == BODY and server.requests == [None]


def test_an_interrupted_download_continues_where_it_ended(server, path, get):
    server.responses = [{"stop": PART}] * 3 + [{}]
    get()
    assert path.exists() and server.requests == ranges(0, PART, 2 * PART, 3 * PART)


def test_an_interrupted_chunk_is_downloaded_again(server, path, get):
    server.responses = [{"stop": PART + download.CHUNK - 9}, {}]
    get()
    assert path.exists() and server.requests == ranges(0, PART)


def test_an_attempt_that_brings_new_bytes_is_not_counted(server, path, get):
    server.responses = [{"status": 503, "stop": 0}, {"stop": PART}] * 4 + [{}]
    get(attempts=2)
    assert path.exists() and len(server.requests) == 9


def test_attempts_without_new_bytes_end_the_download_and_leave_the_partial_file(
    server, partial, error_of
):
    server.responses = [{"stop": PART}, {"stop": 0}]
    message = error_of(UnavailableError, attempts=3)
    assert server.requests == ranges(0, PART, PART, PART) and partial.read_bytes() == BODY[:PART]
    assert "3 attempts" in message and "downloads.coco" in message


def test_bytes_that_were_downloaded_before_are_not_new(server, error_of):
    """Otherwise a server that ignores ranges and breaks every connection is asked forever."""
    server.responses = [{"stop": PART, "ranges": False}]
    error_of(UnavailableError, attempts=3)
    assert len(server.requests) == 4


def test_bytes_that_are_downloaded_repeatedly_are_not_new(server, error_of):
    server.responses = [{"stop": PART}, {"status": 416, "stop": 0}] * 9
    error_of(UnavailableError, attempts=3)
    assert server.requests == ranges(0, PART, 0, PART, 0, PART, 0)


def test_bytes_of_an_earlier_run_are_not_new(server, partial, error_of):
    partial.write_bytes(BODY[:PART])
    server.responses = [{"stop": 0}]
    error_of(UnavailableError, attempts=3)
    assert len(server.requests) == 3


def test_the_pause_grows_with_the_number_of_failures(server, error_of, monkeypatch):
    pauses = []
    monkeypatch.setattr(download, "PAUSE", 2)
    monkeypatch.setattr(download.time, "sleep", pauses.append)
    server.responses = [{"stop": PART}, {"stop": 0}]
    error_of(UnavailableError, attempts=3)
    assert pauses == [2, 2, 4]


def test_the_next_run_continues_from_the_partial_file(server, path, partial, get, capsys):
    partial.write_bytes(BODY[:PART])
    get()
    assert path.exists() and server.requests == ranges(PART)
    output = capsys.readouterr().err
    assert "a file.zip:  20%" in output and "a file.zip: 100%" in output and "B/s" in output


def test_a_complete_partial_file_needs_no_server(server, path, partial, get):
    partial.write_bytes(BODY)
    get()
    assert path.exists() and server.requests == []


def test_a_killed_run_is_continued(server, path, partial, get):
    server.responses = [{"stop": PART, "stall": True}, {}]
    code = f"from headimpact.fetch.http import fetch; fetch({server.url!r}, {str(path)!r}, "
    with subprocess.Popen(
        [sys.executable, "-c", f"{code}{SIZE}, {MD5!r})"], stderr=subprocess.DEVNULL
    ) as process:
        deadline = time.monotonic() + 30
        while not (partial.exists() and partial.stat().st_size == PART):
            assert process.poll() is None and time.monotonic() < deadline
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL and not path.exists()
    get()
    assert path.exists() and server.requests == ranges(0, PART)


def test_a_server_that_ignores_ranges_is_read_from_the_start(server, path, partial, get):
    partial.write_bytes(b"x" * PART)
    server.responses = [{"ranges": False}]
    get()
    assert path.exists() and server.requests == ranges(PART)


@pytest.mark.parametrize(
    "answer",
    [
        {"status": 416, "stop": 0, "headers": {"Content-Range": f"bytes */{SIZE}"}},
        {"headers": {"Content-Range": f"bytes {PART - 1}-{SIZE - 1}/{SIZE}"}},
        {"headers": {"Content-Range": f"bytes {PART}-{SIZE - 1}/*"}},
        {"headers": {"Content-Range": "?"}},
        {"headers": {"Content-Range": None}},
    ],
)
def test_a_response_with_another_range_restarts_the_download(server, path, partial, get, answer):
    partial.write_bytes(b"x" * PART)
    server.responses = [answer, {}]
    get(attempts=1)
    assert path.exists() and server.requests == ranges(PART, 0)


def test_a_range_that_was_not_requested_is_refused(server, error_of):
    server.responses = [{"status": 206}]
    assert "206" in error_of(UserError) and len(server.requests) == 1


def test_a_partial_file_that_is_too_long_restarts_the_download(server, path, partial, get):
    partial.write_bytes(BODY + b"x")
    get()
    assert path.exists() and server.requests == [None]


@pytest.mark.parametrize(
    ("content", "headers"),
    [
        (b"", {"Content-Length": str(SIZE + 1)}),
        (b"", {"Content-Length": str(SIZE - 1)}),
        (BODY[:PART], {"Content-Range": f"bytes {PART}-{SIZE}/{SIZE + 1}"}),
    ],
)
def test_another_size_is_refused_before_the_body(server, partial, error_of, content, headers):
    partial.write_bytes(content)
    server.responses = [{"headers": headers, "stop": 0, "stall": True}]
    message = error_of(UserError, timeout=20)
    assert str(SIZE) in message and "downloads.coco" in message
    assert len(server.requests) == 1 and partial.read_bytes() == content


def test_a_response_without_a_size_is_read(server, path, get):
    server.responses = [{"headers": {"Content-Length": None}}]
    get()
    assert path.exists() and len(server.requests) == 1


def test_a_response_without_a_size_that_ends_early_is_continued(server, path, get):
    server.responses = [{"headers": {"Content-Length": None}, "stop": PART}, {}]
    get()
    assert path.exists() and server.requests == ranges(0, PART)


def test_a_longer_body_is_read_only_up_to_the_size_of_the_file(server, path, get):
    server.responses = [{"headers": {"Content-Length": None}, "more": True}]
    get()
    assert path.exists() and len(server.requests) == 1
    assert server.disconnected.wait(10)


def test_compressed_responses_are_not_accepted(server, get):
    """A range of a compressed response would have other bytes."""
    get()
    assert server.encodings == ["identity"]


def test_a_file_with_a_wrong_md5_is_deleted(server, partial, error_of):
    server.responses = [{"body": BODY[:-1] + b"x"}]
    message = error_of(UserError)
    assert MD5 in message and "downloads.coco" in message
    assert not partial.exists() and len(server.requests) == 1


@pytest.mark.parametrize("status", [204, 300, 400, 403, 404, 407, 451])
def test_a_permanent_refusal_is_not_retried(server, partial, error_of, status):
    partial.write_bytes(BODY[:PART])
    server.responses = [{"status": status, "stop": 0, "headers": {"Content-Length": "0"}}]
    message = error_of(UserError)
    assert str(status) in message and "downloads.coco" in message
    assert len(server.requests) == 1 and partial.read_bytes() == BODY[:PART]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_a_temporary_failure_is_retried(server, path, get, status):
    server.responses = [{"status": status, "body": b"busy"}] * 2 + [{}]
    get()
    assert path.exists() and len(server.requests) == 3


def test_a_failure_that_lasts_is_reported(server, error_of):
    server.responses = [{"status": 503, "body": b"busy"}]
    assert "503 Service Unavailable" in error_of(UnavailableError) and len(server.requests) == 3


def test_a_timeout_is_retried(server, path, get):
    server.responses = [{"stop": PART, "stall": True}, {}]
    get(timeout=0.3)
    assert path.exists() and server.requests == ranges(0, PART)


def test_repeated_timeouts_end_the_download(server, error_of):
    server.responses = [{"stop": 0, "stall": True}]
    assert (
        "timed out" in error_of(UnavailableError, timeout=0.3, attempts=2)
        and len(server.requests) == 2
    )


def test_a_closed_port_is_reported_with_the_reason(server, error_of):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server.url = f"http://127.0.0.1:{free.getsockname()[1]}/x.zip"
        message = error_of(UnavailableError, url=server.url)
    assert os.strerror(errno.ECONNREFUSED) in message and "Errno" not in message


def test_an_exception_that_the_caller_handles_is_not_the_reason(server, partial):
    try:
        raise KeyError("another")
    except KeyError:
        with pytest.raises(UnavailableError, match=os.strerror(errno.ECONNREFUSED)):
            download.fetch("http://127.0.0.1:1/x.zip", partial, SIZE, MD5, attempts=1)


def test_a_redirect_keeps_the_range(server, path, partial, get):
    partial.write_bytes(BODY[:PART])
    server.responses = [redirect("/b"), {}]
    get()
    assert path.exists() and server.requests == ranges(PART, PART)


@pytest.mark.parametrize("target", ["http://[/", "ftp://u:secret@h/", "http://a..b/"])
def test_a_redirect_to_an_invalid_address_is_refused(server, error_of, target):
    server.responses = [redirect(target)]
    assert "secret" not in error_of(UserError) and len(server.requests) == 1


def redirect(target):
    return {"status": 302, "stop": 0, "headers": {"Location": target, "Content-Length": "0"}}


def test_a_refusal_by_a_proxy_is_not_retried(server, error_of, monkeypatch):
    proxy = server.url.removesuffix("/zips/a.zip").replace("//", "//user:secret@")
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    server.url = "https://a.invalid/x.zip"
    message = error_of(UserError, url=server.url)
    assert "407" in message and "secret" not in message and server.requests == ["a.invalid:443"]


@pytest.mark.parametrize("answer", [{"status": 404}, {"stop": 0}, {"body": b"x" * SIZE}])
def test_messages_do_not_contain_credentials_of_the_address(server, get, answer, capfd):
    server.responses = [answer]
    url = server.url.replace("//", "//user:my secret@") + "?token=secret"
    with pytest.raises(UserError) as caught:
        get(url=url)
    assert "secret" not in str(caught.value) + capfd.readouterr().err


@pytest.mark.parametrize(
    "url",
    [
        *("", "x.zip", "http:///x", "http://[/x", "http://h:99999/x"),
        *("ftp://u:secret@h/x", "u:secret@h/x", "http://u:se/cret@h/x"),
    ],
)
def test_an_invalid_address_is_refused(get, url):
    with pytest.raises(UserError, match=r"^downloads\.coco: ") as caught:
        get(url)
    assert "cret" not in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_an_address_that_requests_refuses_is_reported(server, error_of):
    server.url = "http://a..b/x.zip"
    error_of(UserError, url=server.url)


def test_an_invalid_proxy_is_reported(server, error_of, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "socks9://user:secret@h")
    server.url = "http://a.invalid/x.zip"
    assert "secret" not in error_of(UserError, url=server.url)


def test_missing_certificates_are_reported(server, error_of, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/none.pem")
    server.url = "https://127.0.0.1:1/x.zip"
    assert "/none.pem" in error_of(UserError, url=server.url)


def test_contradicting_sizes_are_reported(server, error_of, monkeypatch):
    date = f"x\r\nContent-Length: {SIZE + 5}"
    monkeypatch.setattr(Handler, "date_time_string", lambda self: date)
    error_of(UserError)


def test_a_malformed_response_is_reported(server, error_of, monkeypatch):
    monkeypatch.setattr(Handler, "send_response", lambda self, _: self.wfile.write(b"x\ny\r\n"))
    error_of(UnavailableError)


def test_a_full_disk_is_reported(server, path, partial, error_of, monkeypatch):
    original_open = open

    class Full:
        def __init__(self, *arguments):
            self.file = original_open(*arguments)

        def write(self, data):
            if self.file.tell() >= PART:
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            return self.file.write(data)

        def __getattr__(self, name):
            return getattr(self.file, name)

        def __enter__(self):
            return self

        def __exit__(self, *_):
            self.file.close()

    monkeypatch.setattr(download, "open", Full, raising=False)
    message = error_of(UnavailableError)
    assert os.strerror(errno.ENOSPC) in message and str(path) in message
    assert len(server.requests) == 1 and partial.read_bytes() == BODY[:PART]


def test_a_folder_that_cannot_be_created_is_reported(server, path):
    path.write_bytes(b"")
    with pytest.raises(UnavailableError, match=r"x\.zip \([\w ]+\); "):
        download.fetch(server.url, path / "x.zip", SIZE, MD5)
    assert server.requests == []

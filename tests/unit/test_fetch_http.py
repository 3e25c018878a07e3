"""A download that breaks off, is refused or is another file, against a server on this machine."""

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

BODY = random.Random(0).randbytes(20 * download.CHUNK + 77)
SIZE, MD5 = len(BODY), hashlib.md5(BODY).hexdigest()
PART = 4 * download.CHUNK


class Handler(BaseHTTPRequestHandler):
    """Answers as the next of `server.answers` says, the last of them ever after.

    status, headers: instead of the proper ones, a header None is left out. body: instead of BODY.
    ranges: whether Range is heeded. stop: how many bytes of the body are sent. more: goes on
    after the body. stall: stays silent after it.
    """

    def do_GET(self):
        server, asked = self.server, self.headers["Range"]
        server.seen.append(asked)
        server.encodings.append(self.headers["Accept-Encoding"])
        server.present.append(server.path.exists())
        answer = server.answers.pop(0) if len(server.answers) > 1 else server.answers[0]
        body, start = answer.get("body", BODY), 0
        if asked and answer.get("ranges", True):
            start = int(asked.removeprefix("bytes=").removesuffix("-"))
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
            server.left.set()
        if answer.get("stall"):
            server.released.wait(30)

    def do_CONNECT(self):
        self.server.seen.append(self.path)
        self.send_error(407)

    def log_message(self, *_):
        pass


class Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_):
        """A client that hangs up is no error here."""


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
        server.path, server.answers = path, [{}]
        server.seen, server.encodings, server.present = [], [], []
        server.released, server.left = threading.Event(), threading.Event()
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.released.set()
        server.shutdown()


@pytest.fixture
def get(server, path, partial):
    """fetch, which leaves `path` whole and alone, or else not there."""

    def get(url=server.url, **options):
        options = {"timeout": 5, "attempts": 3} | options
        try:
            download.fetch(url, path, SIZE, MD5, **options)
        finally:
            assert not any(server.present)
            assert not path.exists() or (path.read_bytes() == BODY and not partial.exists())
            assert {file.name for file in path.parent.iterdir()} <= {path.name, partial.name}

    return get


@pytest.fixture
def refused(server, get):
    """The message of a fetch that fails: one line that names the address and a mend."""

    def refused(kind, **options):
        with pytest.raises((ValueError, OSError)) as caught:
            get(**options)
        message = str(caught.value)
        assert isinstance(caught.value, kind)
        assert len(message.splitlines()) == 1
        assert server.url in message and (" dataset.root" in message or " downloads." in message)
        assert caught.value.__suppress_context__ or caught.value.__context__ is None
        return message

    return refused


def at(*ends):
    return [f"bytes={end}-" if end else None for end in ends]


def test_a_file_is_fetched_into_a_new_folder(server, path):
    target = path.parent / "new/folder/x.zip"
    download.fetch(server.url, str(target), SIZE, MD5.upper())
    assert target.read_bytes() == BODY and server.seen == [None]


def test_a_whole_file_is_not_fetched_again(server, path):
    path.write_bytes(BODY)
    download.fetch(server.url, path, SIZE, MD5)
    assert server.seen == []


@pytest.mark.parametrize("there", [BODY[:-1], BODY[:-1] + b"x", BODY + b"x", b""])
def test_a_wrong_file_is_fetched_anew(server, path, there):
    path.write_bytes(there)
    download.fetch(server.url, path, SIZE, MD5)
    assert path.read_bytes() == BODY and server.seen == [None]


def test_what_breaks_off_is_resumed_where_it_ended(server, path, get):
    server.answers = [{"stop": PART}] * 3 + [{}]
    get()
    assert path.exists() and server.seen == at(0, PART, 2 * PART, 3 * PART)


def test_a_chunk_that_breaks_off_is_asked_for_again(server, path, get):
    server.answers = [{"stop": PART + download.CHUNK - 9}, {}]
    get()
    assert path.exists() and server.seen == at(0, PART)


def test_an_attempt_with_new_bytes_is_not_counted(server, path, get):
    server.answers = [{"status": 503, "stop": 0}, {"stop": PART}] * 4 + [{}]
    get(attempts=2)
    assert path.exists() and len(server.seen) == 9


def test_attempts_without_a_new_byte_end_it_and_keep_what_came(server, partial, refused):
    server.answers = [{"stop": PART}, {"stop": 0}]
    message = refused(OSError, attempts=3)
    assert server.seen == at(0, PART, PART, PART) and partial.read_bytes() == BODY[:PART]
    assert "3 attempts in a row" in message and "kept" in message and "downloads.coco" in message


def test_bytes_that_had_come_before_are_not_new(server, refused):
    """Or a server that ignores ranges and always breaks off would be asked for ever."""
    server.answers = [{"stop": PART, "ranges": False}]
    refused(OSError, attempts=3)
    assert len(server.seen) == 4


def test_bytes_that_come_again_and_again_are_not_new(server, refused):
    server.answers = [{"stop": PART}, {"status": 416, "stop": 0}] * 9
    refused(OSError, attempts=3)
    assert server.seen == at(0, PART, 0, PART, 0, PART, 0)


def test_bytes_of_an_earlier_run_are_not_new(server, partial, refused):
    partial.write_bytes(BODY[:PART])
    server.answers = [{"stop": 0}]
    refused(OSError, attempts=3)
    assert len(server.seen) == 3


def test_a_pause_grows_with_the_attempts_that_fail(server, refused, monkeypatch):
    pauses = []
    monkeypatch.setattr(download, "PAUSE", 2)
    monkeypatch.setattr(download.time, "sleep", pauses.append)
    server.answers = [{"stop": PART}, {"stop": 0}]
    refused(OSError, attempts=3)
    assert pauses == [2, 2, 4]


def test_the_next_run_goes_on_from_the_partial_file(server, path, partial, get, capsys):
    partial.write_bytes(BODY[:PART])
    get()
    assert path.exists() and server.seen == at(PART)
    told = capsys.readouterr().err
    assert "a file.zip:  20%" in told and "a file.zip: 100%" in told and "B/s" in told


def test_a_whole_partial_file_needs_no_server(server, path, partial, get):
    partial.write_bytes(BODY)
    get()
    assert path.exists() and server.seen == []


def test_a_killed_run_is_resumed(server, path, partial, get):
    server.answers = [{"stop": PART, "stall": True}, {}]
    code = f"from headimpact.fetch.http import fetch; fetch({server.url!r}, {str(path)!r}, "
    with subprocess.Popen(
        [sys.executable, "-c", f"{code}{SIZE}, {MD5!r})"], stderr=subprocess.DEVNULL
    ) as process:
        until = time.monotonic() + 30
        while not (partial.exists() and partial.stat().st_size == PART):
            assert process.poll() is None and time.monotonic() < until
            time.sleep(0.01)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL and not path.exists()
    get()
    assert path.exists() and server.seen == at(0, PART)


def test_a_server_that_ignores_ranges_is_read_from_the_start(server, path, partial, get):
    partial.write_bytes(b"x" * PART)
    server.answers = [{"ranges": False}]
    get()
    assert path.exists() and server.seen == at(PART)


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
def test_another_range_than_asked_for_starts_anew(server, path, partial, get, answer):
    partial.write_bytes(b"x" * PART)
    server.answers = [answer, {}]
    get(attempts=1)
    assert path.exists() and server.seen == at(PART, 0)


def test_a_range_that_nobody_asked_for_is_refused(server, refused):
    server.answers = [{"status": 206}]
    assert "answers 206" in refused(ValueError) and len(server.seen) == 1


def test_a_partial_file_that_is_too_long_starts_anew(server, path, partial, get):
    partial.write_bytes(BODY + b"x")
    get()
    assert path.exists() and server.seen == [None]


@pytest.mark.parametrize(
    ("there", "headers"),
    [
        (b"", {"Content-Length": str(SIZE + 1)}),
        (b"", {"Content-Length": str(SIZE - 1)}),
        (BODY[:PART], {"Content-Range": f"bytes {PART}-{SIZE}/{SIZE + 1}"}),
    ],
)
def test_another_size_is_refused_before_the_body(server, partial, refused, there, headers):
    partial.write_bytes(there)
    server.answers = [{"headers": headers, "stop": 0, "stall": True}]
    message = refused(ValueError, timeout=20)
    assert f"the file has {SIZE};" in message and "downloads.coco" in message
    assert len(server.seen) == 1 and partial.read_bytes() == there


def test_an_answer_without_a_size_is_read(server, path, get):
    server.answers = [{"headers": {"Content-Length": None}}]
    get()
    assert path.exists() and len(server.seen) == 1


def test_a_body_without_a_size_that_ends_early_is_resumed(server, path, get):
    server.answers = [{"headers": {"Content-Length": None}, "stop": PART}, {}]
    get()
    assert path.exists() and server.seen == at(0, PART)


def test_a_longer_body_is_read_no_further_than_the_file(server, path, get):
    server.answers = [{"headers": {"Content-Length": None}, "more": True}]
    get()
    assert path.exists() and len(server.seen) == 1
    assert server.left.wait(10)


def test_no_compressed_answer_is_asked_for(server, get):
    """A range of it would be another."""
    get()
    assert server.encodings == ["identity"]


def test_a_wrong_md5_removes_what_came(server, partial, refused):
    server.answers = [{"body": BODY[:-1] + b"x"}]
    message = refused(ValueError)
    assert MD5 in message and "downloads.coco" in message
    assert not partial.exists() and len(server.seen) == 1


@pytest.mark.parametrize("status", [204, 300, 400, 403, 404, 407, 451])
def test_what_is_refused_for_good_is_not_asked_again(server, partial, refused, status):
    partial.write_bytes(BODY[:PART])
    server.answers = [{"status": status, "stop": 0, "headers": {"Content-Length": "0"}}]
    message = refused(ValueError)
    assert f"answers {status}" in message and "downloads.coco" in message
    assert len(server.seen) == 1 and partial.read_bytes() == BODY[:PART]


@pytest.mark.parametrize("status", [429, 500, 503])
def test_what_passes_is_asked_again(server, path, get, status):
    server.answers = [{"status": status, "body": b"busy"}] * 2 + [{}]
    get()
    assert path.exists() and len(server.seen) == 3


def test_what_does_not_pass_is_told(server, refused):
    server.answers = [{"status": 503, "body": b"busy"}]
    assert "answers 503 Service Unavailable" in refused(OSError) and len(server.seen) == 3


def test_a_server_that_falls_silent_is_asked_again(server, path, get):
    server.answers = [{"stop": PART, "stall": True}, {}]
    get(timeout=0.3)
    assert path.exists() and server.seen == at(0, PART)


def test_silence_ends_it(server, refused):
    server.answers = [{"stop": 0, "stall": True}]
    assert "timed out" in refused(OSError, timeout=0.3, attempts=2) and len(server.seen) == 2


def test_a_closed_port_is_told_with_the_systems_reason(server, refused):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        server.url = f"http://127.0.0.1:{free.getsockname()[1]}/x.zip"
        message = refused(OSError, url=server.url)
    assert os.strerror(errno.ECONNREFUSED) in message and "Errno" not in message


def test_the_reason_is_not_what_the_caller_is_at(server, partial):
    try:
        raise KeyError("another")
    except KeyError:
        with pytest.raises(OSError, match=os.strerror(errno.ECONNREFUSED)):
            download.fetch("http://127.0.0.1:1/x.zip", partial, SIZE, MD5, attempts=1)


def test_a_redirect_keeps_the_range(server, path, partial, get):
    partial.write_bytes(BODY[:PART])
    server.answers = [moved("/b"), {}]
    get()
    assert path.exists() and server.seen == at(PART, PART)


@pytest.mark.parametrize("target", ["http://[/", "ftp://u:secret@h/", "http://a..b/"])
def test_a_redirect_to_nowhere_is_told_in_one_line(server, refused, target):
    server.answers = [moved(target)]
    assert "secret" not in refused(ValueError) and len(server.seen) == 1


def moved(target):
    return {"status": 302, "stop": 0, "headers": {"Location": target, "Content-Length": "0"}}


def test_a_proxy_of_the_environment_that_refuses_is_not_asked_again(server, refused, monkeypatch):
    proxy = server.url.removesuffix("/zips/a.zip").replace("//", "//user:secret@")
    monkeypatch.setenv("HTTPS_PROXY", proxy)
    server.url = "https://a.invalid/x.zip"
    message = refused(ValueError, url=server.url)
    assert "407" in message and "secret" not in message and server.seen == ["a.invalid:443"]


@pytest.mark.parametrize("answer", [{"status": 404}, {"stop": 0}, {"body": b"x" * SIZE}])
def test_credentials_of_an_address_are_not_told(server, refused, answer, capfd):
    server.answers = [answer]
    url = server.url.replace("//", "//user:my secret@") + "?token=secret"
    assert "secret" not in refused((ValueError, OSError), url=url) + capfd.readouterr().err


@pytest.mark.parametrize(
    "url",
    [
        *("", "x.zip", "http:///x", "http://[/x", "http://h:99999/x"),
        *("ftp://u:secret@h/x", "u:secret@h/x", "http://u:se/cret@h/x"),
    ],
)
def test_an_address_that_is_none_is_refused(get, url):
    with pytest.raises(ValueError, match=r"^downloads\.coco: .* is no http or https") as caught:
        get(url)
    assert "cret" not in str(caught.value) and len(str(caught.value).splitlines()) == 1


def test_an_address_that_requests_refuses_is_told_in_one_line(server, refused):
    server.url = "http://a..b/x.zip"
    refused(ValueError, url=server.url)


def test_a_proxy_that_is_none_is_told_in_one_line(server, refused, monkeypatch):
    monkeypatch.setenv("HTTP_PROXY", "socks9://user:secret@h")
    server.url = "http://a.invalid/x.zip"
    assert "secret" not in refused(ValueError, url=server.url)


def test_certificates_that_are_not_there_are_told_in_one_line(server, refused, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/none.pem")
    server.url = "https://127.0.0.1:1/x.zip"
    assert "/none.pem" in refused(ValueError, url=server.url)


def test_sizes_that_contradict_each_other_are_told_in_one_line(server, refused, monkeypatch):
    date = f"x\r\nContent-Length: {SIZE + 5}"
    monkeypatch.setattr(Handler, "date_time_string", lambda self: date)
    refused(ValueError)


def test_a_broken_answer_is_told_in_one_line(server, refused, monkeypatch):
    monkeypatch.setattr(Handler, "send_response", lambda self, _: self.wfile.write(b"x\ny\r\n"))
    refused(OSError)


def test_a_full_disk_is_told_with_its_reason(server, path, partial, refused, monkeypatch):
    opened = open

    class Full:
        def __init__(self, *arguments):
            self.file = opened(*arguments)

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
    message = refused(OSError)
    assert os.strerror(errno.ENOSPC) in message and str(path) in message and "kept" in message
    assert len(server.seen) == 1 and partial.read_bytes() == BODY[:PART]


def test_a_folder_that_cannot_be_made_is_told(server, path):
    path.write_bytes(b"")
    with pytest.raises(OSError, match=r"cannot be kept as .*x\.zip \([\w ]+\); make room"):
        download.fetch(server.url, path / "x.zip", SIZE, MD5)
    assert server.seen == []

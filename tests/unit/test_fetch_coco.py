"""COCO's archives: fetched, checked, unpacked, and gone only once all is there."""

import csv
import hashlib
import json
import random
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from headimpact.dataset.coco import CocoFolder
from headimpact.fetch import http as fetching
from headimpact.fetch.coco import download

NAMES = [f"{number:012d}.jpg" for number in (139, 285, 632)]
PHOTO = random.Random(0).randbytes(2 * fetching.CHUNK)  # nobody opens it
ANNOTATIONS = {
    "annotations/captions_val2017.json": {
        "images": [
            {"id": number, "file_name": name, "width": 4, "height": 3}
            for number, name in enumerate(NAMES)
        ],
        "annotations": [
            {"id": number, "image_id": number, "caption": "a"} for number in range(len(NAMES))
        ],
    },
    "annotations/instances_val2017.json": {"images": [], "annotations": [], "categories": []},
}
FIRST = {name: json.dumps(content).encode() for name, content in ANNOTATIONS.items()}
SECOND = {"val2017/": b""} | {f"val2017/{name}": PHOTO for name in NAMES}
PATHS = ["annotations/annotations_trainval2017.zip", "zips/val2017.zip"]


class Handler(BaseHTTPRequestHandler):
    """Sends the archives of `server.archives`; one of `server.broken` ends after so many bytes."""

    def do_GET(self):
        path, asked = self.path.removeprefix("/coco/"), self.headers["Range"]
        self.server.seen.append((path, asked))
        body = self.server.archives.get(path, b"")
        start = int(asked.removeprefix("bytes=").removesuffix("-")) if asked else 0
        stop = self.server.broken.get(path, len(body))
        if start >= stop:
            return self.send_error(404)
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body) - start))
        if start:
            self.send_header("Content-Range", f"bytes {start}-{len(body) - 1}/{len(body)}")
        self.end_headers()
        self.wfile.write(body[start:stop])

    def log_message(self, *_):
        pass


@pytest.fixture
def server(tmp_path, monkeypatch):
    for name in ("http_proxy", "HTTP_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(fetching, "PAUSE", 0)
    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.daemon_threads = True
        server.url = f"http://127.0.0.1:{server.server_port}/coco"
        server.archives, server.broken, server.seen = {}, {}, []
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def get(server, tmp_path):
    """Have COCO downloaded, from archives with these members."""

    def get(first=FIRST, second=SECOND, url=server.url):
        root = tmp_path / "data/coco"
        rows = [("path", "bytes", "md5")]
        for path, content in zip(PATHS, (first, second), strict=True):
            file = tmp_path / Path(path).name
            with zipfile.ZipFile(file, "w") as archive:
                for name, data in content.items():
                    archive.writestr(zipfile.ZipInfo(name), data)
            server.archives[path] = file.read_bytes()
            md5 = hashlib.md5(server.archives[path]).hexdigest()
            rows.append((path, len(server.archives[path]), md5))
        with (tmp_path / "downloads.csv").open("w", newline="") as table:
            csv.writer(table).writerows(rows)
        download(tmp_path / "downloads.csv", url, root / "archives", root)

    return get


def present(tmp_path):
    """The files of the data folder, below it."""
    files = (tmp_path / "data").rglob("*")
    return {path.relative_to(tmp_path / "data/coco").as_posix() for path in files if path.is_file()}


ARCHIVES = {f"archives/{path}" for path in PATHS}
WANTED = {*ANNOTATIONS, *(f"val2017/{name}" for name in NAMES)}


@pytest.mark.parametrize("slash", ["", "/"])
def test_what_a_study_reads_is_there_and_the_archives_are_gone(server, get, tmp_path, slash):
    get(url=server.url + slash)
    assert present(tmp_path) == WANTED
    assert server.seen == [(path, None) for path in PATHS]
    folder = CocoFolder(tmp_path / "data/coco", "val2017")
    assert folder.captions()["file_name"].tolist() == NAMES
    assert (tmp_path / "data/coco/val2017" / NAMES[0]).read_bytes() == PHOTO


def test_a_run_that_broke_off_goes_on_where_it_was(server, get, tmp_path):
    server.broken = {PATHS[1]: len(PHOTO)}
    with pytest.raises(ValueError, match=r"/zips/val2017\.zip: answers 404"):
        get()
    assert present(tmp_path) == {f"archives/{PATHS[0]}", f"archives/{PATHS[1]}.partial"}
    server.broken, server.seen = {}, []
    get()
    assert server.seen == [(PATHS[1], f"bytes={len(PHOTO)}-")]
    assert present(tmp_path) == WANTED


UNWANTED = [
    *("../../evil.jpg", "/etc/evil.jpg", "val2017/../../../1.jpg", "..\\1.jpg"),
    *("val2017/evil.jpg", "val2017/1.png", "val2017/1xjpg", "val2017/1.jpg.exe", "val2017/a/1.jpg"),
    *("train2017/000000000009.jpg", "evil/val2017/1.jpg", "val2017/1.jpg\n"),
    *("annotations/captions_train2017.json", "annotations/person_keypoints_val2017.json"),
    *("annotations/captions_val2017xjson", "annotations/captions_val2017.json.exe"),
]


def test_a_member_that_nobody_wants_is_harmless(get, tmp_path):
    evil = dict.fromkeys(UNWANTED, b"evil")
    get(FIRST | evil, SECOND | evil)
    assert present(tmp_path) == WANTED
    assert {path.name for path in tmp_path.iterdir()} == {
        *("data", "downloads.csv", "annotations_trainval2017.zip", "val2017.zip")
    }


@pytest.mark.parametrize(
    ("gone", "told"),
    [
        (f"val2017/{NAMES[1]}", f"val2017: 1 of 3 images are missing, {NAMES[1]} first"),
        ("annotations/captions_val2017.json", "no file .*captions_val2017.json"),
        ("annotations/instances_val2017.json", "no file .*instances_val2017.json"),
    ],
)
def test_what_an_archive_lacks_is_named_and_the_archives_are_kept(get, tmp_path, gone, told):
    archives = [
        {name: data for name, data in members.items() if name != gone}
        for members in (FIRST, SECOND)
    ]
    with pytest.raises(ValueError, match=told) as error:
        get(*archives)
    assert "\n" not in str(error.value)
    assert present(tmp_path) == ARCHIVES | (WANTED - {gone})

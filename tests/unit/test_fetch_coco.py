"""COCO's archives are downloaded, checked, unpacked, and deleted once all files exist."""

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
from headimpact.guards import UserError

NAMES = [f"{number:012d}.jpg" for number in (139, 285, 632)]
PHOTO = random.Random(0).randbytes(2 * fetching.CHUNK)  # stands for an image
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
ANNOTATION_FILES = {name: json.dumps(content).encode() for name, content in ANNOTATIONS.items()}
PHOTO_FILES = {"val2017/": b""} | {f"val2017/{name}": PHOTO for name in NAMES}
PATHS = ["annotations/annotations_trainval2017.zip", "zips/val2017.zip"]


class Handler(BaseHTTPRequestHandler):
    """Sends the archives of `server.archives`, up to the number of bytes in `server.limits`."""

    def do_GET(self):
        path, byte_range = self.path.removeprefix("/coco/"), self.headers["Range"]
        self.server.requests.append((path, byte_range))
        body = self.server.archives.get(path, b"")
        start = int(byte_range.removeprefix("bytes=").removesuffix("-")) if byte_range else 0
        stop = self.server.limits.get(path, len(body))
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
        server.archives, server.limits, server.requests = {}, {}, []
        threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def get(server, tmp_path):
    """A function that downloads COCO from archives with the given members."""

    def get(annotations=ANNOTATION_FILES, photos=PHOTO_FILES, url=server.url):
        root = tmp_path / "data/coco"
        rows = [("path", "bytes", "md5")]
        for path, content in zip(PATHS, (annotations, photos), strict=True):
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


def downloaded_files(tmp_path):
    """The paths of all files below the data folder."""
    files = (tmp_path / "data").rglob("*")
    return {path.relative_to(tmp_path / "data/coco").as_posix() for path in files if path.is_file()}


ARCHIVES = {f"archives/{path}" for path in PATHS}
WANTED = {*ANNOTATIONS, *(f"val2017/{name}" for name in NAMES)}


@pytest.mark.parametrize("slash", ["", "/"])
def test_the_files_of_a_study_are_unpacked_and_the_archives_deleted(server, get, tmp_path, slash):
    get(url=server.url + slash)
    assert downloaded_files(tmp_path) == WANTED
    assert server.requests == [(path, None) for path in PATHS]
    folder = CocoFolder(tmp_path / "data/coco", "val2017")
    assert folder.captions()["file_name"].tolist() == NAMES
    assert (tmp_path / "data/coco/val2017" / NAMES[0]).read_bytes() == PHOTO


def test_an_interrupted_download_is_continued(server, get, tmp_path):
    server.limits = {PATHS[1]: len(PHOTO)}
    with pytest.raises(UserError, match=r"/zips/val2017\.zip: .*404"):
        get()
    assert downloaded_files(tmp_path) == {f"archives/{PATHS[0]}", f"archives/{PATHS[1]}.partial"}
    server.limits, server.requests = {}, []
    get()
    assert server.requests == [(PATHS[1], f"bytes={len(PHOTO)}-")]
    assert downloaded_files(tmp_path) == WANTED


UNWANTED = [
    *("../../evil.jpg", "/etc/evil.jpg", "val2017/../../../1.jpg", "..\\1.jpg"),
    *("val2017/evil.jpg", "val2017/1.png", "val2017/1xjpg", "val2017/1.jpg.exe", "val2017/a/1.jpg"),
    *("train2017/000000000009.jpg", "evil/val2017/1.jpg", "val2017/1.jpg\n"),
    *("annotations/captions_train2017.json", "annotations/person_keypoints_val2017.json"),
    *("annotations/captions_val2017xjson", "annotations/captions_val2017.json.exe"),
]


def test_other_members_of_the_archives_are_not_unpacked(get, tmp_path):
    evil = dict.fromkeys(UNWANTED, b"evil")
    get(ANNOTATION_FILES | evil, PHOTO_FILES | evil)
    assert downloaded_files(tmp_path) == WANTED
    assert {path.name for path in tmp_path.iterdir()} == {
        *("data", "downloads.csv", "annotations_trainval2017.zip", "val2017.zip")
    }


@pytest.mark.parametrize(
    ("missing", "message"),
    [
        (f"val2017/{NAMES[1]}", f"val2017: 1 of 3 .*{NAMES[1]}"),
        ("annotations/captions_val2017.json", "no file .*captions_val2017.json"),
        ("annotations/instances_val2017.json", "no file .*instances_val2017.json"),
    ],
)
def test_a_missing_file_is_named_and_the_archives_stay(get, tmp_path, missing, message):
    archives = [
        {name: data for name, data in members.items() if name != missing}
        for members in (ANNOTATION_FILES, PHOTO_FILES)
    ]
    with pytest.raises(UserError, match=message) as error:
        get(*archives)
    assert "\n" not in str(error.value)
    assert downloaded_files(tmp_path) == ARCHIVES | (WANTED - {missing})

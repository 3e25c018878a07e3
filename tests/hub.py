"""A server on this machine that answers as the Hugging Face hub does, for tests."""

import hashlib
import json
import threading
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import unquote, urlsplit

COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Hub:
    """Checkpoints {id: folder}; what it was asked for stands in `requests`.

    gated: ids that want the token `hf_licensed`. fails: ids at which the server fails. breaks:
    how many weight files are cut off in the middle before one is sent whole.
    """

    def __init__(self, checkpoints, gated=(), fails=(), breaks=0):
        self.checkpoints = {name: Path(folder) for name, folder in checkpoints.items()}
        self.gated, self.fails, self.breaks, self.requests = gated, fails, breaks, []

    @contextmanager
    def running(self):
        """The environment (dict) with which the hub's library talks to this server."""
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_HEAD(self):
                hub.answer(self, body=False)

            def do_GET(self):
                hub.answer(self, body=True)

            def log_message(self, *_):
                pass

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield {
                "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}",
                "NO_PROXY": "127.0.0.1",
                "no_proxy": "127.0.0.1",
                "HF_HUB_DISABLE_XET": "1",
                "HF_HUB_OFFLINE": "0",
            }
        finally:
            server.shutdown()
            server.server_close()

    def answer(self, request, body):
        path = unquote(urlsplit(request.path).path)
        self.requests.append((request.command, path, request.headers.get("Range")))
        parts = path.strip("/").removeprefix("api/models/").split("/")
        name, rest = "/".join(parts[:2]), parts[2:]
        if name not in self.checkpoints:
            return self.refuse(request, 401, "RepoNotFound", body)
        if name in self.fails:
            return self.send_error(request, 500, {}, body)
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if name in self.gated and token != "hf_licensed" and rest[0] != "revision":
            return self.refuse(request, 403 if token else 401, "GatedRepo", body)
        folder = self.checkpoints[name]
        if rest[0] in ("revision", "tree", "resolve") and rest[1] not in ("main", COMMIT):
            return self.refuse(request, 404, "RevisionNotFound", body)
        if rest[0] == "auth-check":
            return self.send(request, b"{}", {}, body)
        if rest[0] == "revision":
            return self.send(request, json.dumps({"id": name, "sha": COMMIT}).encode(), {}, body)
        if rest[0] == "tree":
            entries = [
                {"type": "file", "path": file.relative_to(folder).as_posix()}
                | {"size": file.stat().st_size, "oid": _etag(file)[:40]}
                for file in sorted(folder.rglob("*"))
                if file.is_file()
            ]
            return self.send(request, json.dumps(entries).encode(), {}, body)
        file = folder / "/".join(rest[2:])
        if not file.is_file():
            return self.refuse(request, 404, "EntryNotFound", body)
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{_etag(file)[:40]}"'}
        return self.send(request, file.read_bytes(), headers, body)

    def send(self, request, content, headers, body):
        wanted, whole, status = request.headers.get("Range"), len(content), 200
        if wanted:
            start = int(wanted.removeprefix("bytes=").split("-")[0])
            content, status = content[start:], 206
            headers = {**headers, "Content-Range": f"bytes {start}-{whole - 1}/{whole}"}
        request.send_response(status)
        for key, value in {**headers, "Content-Length": len(content)}.items():
            request.send_header(key, str(value))
        request.end_headers()
        if not body:
            return
        if self.breaks and request.path.endswith(".safetensors"):
            self.breaks -= 1
            request.wfile.write(content[: len(content) // 2])
            request.close_connection = True
            request.connection.close()
            return
        request.wfile.write(content)

    def refuse(self, request, status, code, body):
        self.send_error(request, status, {"X-Error-Code": code, "X-Error-Message": code}, body)

    def send_error(self, request, status, headers, body):
        content = json.dumps({"error": "no"}).encode()
        request.send_response(status)
        for key, value in {**headers, "Content-Length": len(content)}.items():
            request.send_header(key, str(value))
        request.end_headers()
        if body:
            request.wfile.write(content)


def _etag(file):
    return hashlib.sha256(file.read_bytes()).hexdigest()

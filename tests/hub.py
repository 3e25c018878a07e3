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
    """Serves checkpoints, {id: folder}, and records its requests in `requests`.

    gated: ids that need the token `hf_licensed`. fails: ids that are answered with status 500.
    breaks: the number of weight files that are cut off halfway before a complete one is sent.
    """

    def __init__(self, checkpoints, gated=(), fails=(), breaks=0):
        self.checkpoints = {name: Path(folder) for name, folder in checkpoints.items()}
        self.gated, self.fails, self.breaks, self.requests = gated, fails, breaks, []

    @contextmanager
    def running(self):
        """Run the server; yield the environment (dict) that points huggingface_hub to it."""
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
        segments = path.strip("/").removeprefix("api/models/").split("/")
        name, route = "/".join(segments[:2]), segments[2:]
        if name not in self.checkpoints:
            return self.refuse(request, 401, "RepoNotFound", body)
        if name in self.fails:
            return self.send_error(request, 500, {}, body)
        token = request.headers.get("Authorization", "").removeprefix("Bearer ")
        if name in self.gated and token != "hf_licensed" and route[0] != "revision":
            return self.refuse(request, 403 if token else 401, "GatedRepo", body)
        folder = self.checkpoints[name]
        if route[0] in ("revision", "tree", "resolve") and route[1] not in ("main", COMMIT):
            return self.refuse(request, 404, "RevisionNotFound", body)
        if route[0] == "auth-check":
            return self.send(request, b"{}", {}, body)
        if route[0] == "revision":
            return self.send(request, json.dumps({"id": name, "sha": COMMIT}).encode(), {}, body)
        if route[0] == "tree":
            entries = [
                {"type": "file", "path": file.relative_to(folder).as_posix()}
                | {"size": file.stat().st_size, "oid": _etag(file)[:40]}
                for file in sorted(folder.rglob("*"))
                if file.is_file()
            ]
            return self.send(request, json.dumps(entries).encode(), {}, body)
        file = folder / "/".join(route[2:])
        if not file.is_file():
            return self.refuse(request, 404, "EntryNotFound", body)
        headers = {"X-Repo-Commit": COMMIT, "ETag": f'"{_etag(file)[:40]}"'}
        return self.send(request, file.read_bytes(), headers, body)

    def send(self, request, content, headers, body):
        byte_range, size, status = request.headers.get("Range"), len(content), 200
        if byte_range:
            start = int(byte_range.removeprefix("bytes=").split("-")[0])
            content, status = content[start:], 206
            headers = {**headers, "Content-Range": f"bytes {start}-{size - 1}/{size}"}
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

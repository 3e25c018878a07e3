"""A token and a password reach the server that they are for, and no file and no line."""

import base64
import http.server
import threading

import pytest
from hub import Hub
from projects import tiny

from headimpact import artifacts

TOKEN = "hf_licensed"
SECRET = "geheim"


def leaks(project, done, *secrets):
    """Where one of the secrets stands: the run's output, or a file below the project's folder."""
    found = [name for name in ("stdout", "stderr") for s in secrets if s in getattr(done, name)]
    for path in sorted(project.folder.rglob("*")):
        if path.is_file() and path.name != "config.yaml":
            content = path.read_bytes()
            found += [path for secret in secrets if secret.encode() in content]
        found += [path for secret in secrets if secret in path.name]
    return found


def of_hub(project, checkpoints):
    """A very small study whose model wants a token."""
    config = tiny(checkpoints, "qwen2_vl")
    study = config["studies"]["tiny"]
    study["models"]["qwen2_vl"]["checkpoint"] = "a/b"
    study["setups"] = {"original": {"layers": "none"}, "top-2": {"layers": "top", "count": 2}}
    made = project(config)
    hub = Hub({"a/b": checkpoints / "qwen2_vl"}, gated=["a/b"])
    return made, hub


def test_a_token_stands_in_no_result_log_or_cache(project, checkpoints):
    made, hub = of_hub(project, checkpoints)
    with hub.running() as environment:
        made.servers = {**environment, "HF_TOKEN": TOKEN}
        done = made.snakemake("--cores", "2", "--verbose", "results/tiny/table4.csv")
    assert done.returncode == 0, done.stderr
    assert artifacts.provenance(made.folder / "results/tiny/qwen2_vl/attention/0.parquet")[
        "checkpoint"
    ]
    assert leaks(made, done, TOKEN) == []


def test_a_token_stands_in_no_error(project, checkpoints):
    made, hub = of_hub(project, checkpoints)
    hub.gated = []
    with hub.running() as environment:
        made.servers = {**environment, "HF_TOKEN": TOKEN}
        hub.fails = ["a/b"]
        refused = made.snakemake("--cores", "2", "results/tiny/table4.csv")
        hub.fails, hub.breaks = (), 99
        failed = made.snakemake("--cores", "2", "--show-failed-logs", "--verbose", "fetch")
    assert "a/b: no folder here, and the hub at" in refused.stderr
    assert failed.returncode != 0 and "Error in rule checkpoint" in failed.stderr
    assert leaks(made, refused, TOKEN) + leaks(made, failed, TOKEN) == []


@pytest.fixture
def server():
    """One that refuses everything, at once; `seen` is with which authorization it was asked."""
    seen = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            seen.extend(filter(None, map(self.headers.get, AUTHORIZATIONS)))
            self.send_error(404)

        do_CONNECT = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    found = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=found.serve_forever, daemon=True).start()
    found.seen = seen
    yield found
    found.shutdown()
    found.server_close()


AUTHORIZATIONS = ("Authorization", "Proxy-Authorization")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
PROXIES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")


@pytest.mark.parametrize("through", ["address", "proxy"])
@pytest.mark.parametrize("target", ["data/coco/val2017", f"data/release/{COMMIT}"])
def test_a_password_of_an_address_stands_in_no_error(project, checkpoints, server, target, through):
    config = tiny(checkpoints, "qwen2_vl")
    address = f"http://user:{SECRET}@127.0.0.1:{server.server_port}"
    config["downloads"] = {"release_commit": COMMIT}
    if through == "address":
        config["downloads"] |= {"coco": address, "release": f"{address}/r.git"}
    made = project(config)
    made.servers = dict.fromkeys(PROXIES, address if through == "proxy" else "")
    done = made.snakemake("--cores", "2", "--show-failed-logs", "--verbose", target)
    assert done.returncode != 0 and "Error in rule" in done.stderr
    assert "coco" in target or "as annotator.release" in done.stderr
    assert leaks(made, done, SECRET) == []
    if "coco" in target:  # git says it only once it is asked
        assert base64.b64encode(f"user:{SECRET}".encode()).decode() in " ".join(server.seen)

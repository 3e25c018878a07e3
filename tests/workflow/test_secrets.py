"""A token and a password are sent to their server, and appear in no file and no output."""

import base64
import http.server
import threading

import pytest
from hub import Hub
from projects import tiny

from headimpact import artifacts

TOKEN = "hf_licensed"
SECRET = "geheim"


def leaks(project, result, *secrets):
    """Where a secret appears: in the run's output, or in a file of the project's folder."""
    places = [name for name in ("stdout", "stderr") for s in secrets if s in getattr(result, name)]
    for path in sorted(project.folder.rglob("*")):
        if path.is_file() and path.name != "config.yaml":
            content = path.read_bytes()
            places += [path for secret in secrets if secret.encode() in content]
        places += [path for secret in secrets if secret in path.name]
    return places


def gated_study(project, checkpoints):
    """A very small study whose model needs a token, and the hub that serves it."""
    config = tiny(checkpoints, "qwen2_vl")
    study = config["studies"]["tiny"]
    study["models"]["qwen2_vl"]["checkpoint"] = "a/b"
    study["setups"] = {"original": {"layers": "none"}, "top-2": {"layers": "top", "count": 2}}
    workflow = project(config)
    hub = Hub({"a/b": checkpoints / "qwen2_vl"}, gated=["a/b"])
    return workflow, hub


def test_a_token_is_in_no_result_log_or_cache(project, checkpoints):
    workflow, hub = gated_study(project, checkpoints)
    with hub.running() as environment:
        workflow.servers = {**environment, "HF_TOKEN": TOKEN}
        result = workflow.snakemake("--cores", "2", "--verbose", "results/tiny/table4.csv")
    assert result.returncode == 0, result.stderr
    assert artifacts.provenance(workflow.folder / "results/tiny/qwen2_vl/attention/0.parquet")[
        "checkpoint"
    ]
    assert leaks(workflow, result, TOKEN) == []


def test_a_token_is_in_no_error(project, checkpoints):
    workflow, hub = gated_study(project, checkpoints)
    hub.gated = []
    with hub.running() as environment:
        workflow.servers = {**environment, "HF_TOKEN": TOKEN}
        hub.fails = ["a/b"]
        refused = workflow.snakemake("--cores", "2", "results/tiny/table4.csv")
        hub.fails, hub.breaks = (), 99
        failed = workflow.snakemake("--cores", "2", "--show-failed-logs", "--verbose", "fetch")
    assert "a/b: " in refused.stderr and "the hub at" in refused.stderr
    assert failed.returncode != 0 and "Error in rule checkpoint" in failed.stderr
    assert leaks(workflow, refused, TOKEN) + leaks(workflow, failed, TOKEN) == []


@pytest.fixture
def server():
    """A server that answers 404; `authorizations` lists the headers that it received."""
    authorizations = []

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            authorizations.extend(filter(None, map(self.headers.get, AUTHORIZATION_HEADERS)))
            self.send_error(404)

        do_CONNECT = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    server.authorizations = authorizations
    yield server
    server.shutdown()
    server.server_close()


AUTHORIZATION_HEADERS = ("Authorization", "Proxy-Authorization")
COMMIT = "0123456789abcdef0123456789abcdef01234567"
PROXIES = ("http_proxy", "https_proxy", "HTTP_PROXY", "HTTPS_PROXY")


@pytest.mark.parametrize("through", ["address", "proxy"])
@pytest.mark.parametrize("target", ["data/coco/val2017", f"data/release/{COMMIT}"])
def test_a_password_in_an_address_is_in_no_error(project, checkpoints, server, target, through):
    config = tiny(checkpoints, "qwen2_vl")
    address = f"http://user:{SECRET}@127.0.0.1:{server.server_port}"
    config["downloads"] = {"release_commit": COMMIT}
    if through == "address":
        config["downloads"] |= {"coco": address, "release": f"{address}/r.git"}
    workflow = project(config)
    workflow.servers = dict.fromkeys(PROXIES, address if through == "proxy" else "")
    result = workflow.snakemake("--cores", "2", "--show-failed-logs", "--verbose", target)
    assert result.returncode != 0 and "Error in rule" in result.stderr
    assert "coco" in target or "as annotator.release" in result.stderr
    assert leaks(workflow, result, SECRET) == []
    if "coco" in target:  # git sends a password only after status 401
        assert base64.b64encode(f"user:{SECRET}".encode()).decode() in " ".join(
            server.authorizations
        )

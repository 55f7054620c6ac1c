"""How many requests wait: read from TorchServe's management address, whatever becomes of its tokens."""

import json
import os
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from serving import queue_metrics
from serving.queue_metrics import QueueMetrics


class Management(ThreadingHTTPServer):
    """TorchServe's management address with two towers, one of them in two versions."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), _Answer)
        self.key = "first"
        self.url = f"http://127.0.0.1:{self.server_port}"


class _Answer(BaseHTTPRequestHandler):
    server: Management

    def do_GET(self) -> None:
        if self.headers["authorization"] != f"Bearer {self.server.key}":
            self.send_error(400)
            return
        path = self.path.partition("?")[0]
        versions = {"/models/text/all": ["1.0", "2.0"], "/models/vision/all": ["1.0"]}.get(path, [])
        queue = {"pendingRequests": 3, "remainingCapacity": 97}
        workers = [
            {"id": "9000", "pid": os.getpid(), "status": "READY"},
            {"id": "9001", "pid": -1, "status": "UNLOADING"},  # TorchServe has not started its process yet.
        ]
        answer: object = [
            {"modelVersion": version, "jobQueueStatus": queue, "workers": workers} for version in versions
        ]
        if path == "/models":
            answer = {"models": [{"modelName": "text"}, {"modelName": "vision"}]}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def management() -> Iterator[Management]:
    """It answers until the test ends."""
    with Management() as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        yield server
        server.shutdown()


@pytest.fixture
def tokens(tmp_path: Path) -> Path:
    """A token file that the management address accepts."""
    write(tmp_path / "key_file.json", "first")
    return tmp_path / "key_file.json"


def write(path: Path, key: str) -> None:
    path.write_text(json.dumps({"management": {"key": key}}))


def scrape(url: str) -> dict[str, float]:
    """Series → value."""
    with urllib.request.urlopen(url, timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return {
        name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")
    }


def test_every_version_of_every_tower_has_its_queue(management: Management, tokens: Path) -> None:
    """Depth and room of each queue, without naming the towers beforehand."""
    metrics = QueueMetrics(management.url, tokens, port=0)
    found = scrape(metrics.url)
    metrics.close()
    queues = ('tower="text",version="1.0"', 'tower="text",version="2.0"', 'tower="vision",version="1.0"')
    expected = {f"babelclip_queue_depth{{{queue}}}": 3.0 for queue in queues}
    expected |= {f"babelclip_queue_free{{{queue}}}": 97.0 for queue in queues}
    assert {name: value for name, value in found.items() if "worker" not in name} == {
        **expected,
        "babelclip_queue_up": 1.0,
    }


def test_the_workers_of_every_tower_are_seen(management: Management, tokens: Path) -> None:
    """How many there are, how many of them are ready, and the memory of each that has a process."""
    metrics = QueueMetrics(management.url, tokens, port=0)
    found = scrape(metrics.url)
    metrics.close()
    which = 'tower="text",version="1.0"'
    assert found[f"babelclip_workers{{{which}}}"] == 2
    assert found[f"babelclip_workers_ready{{{which}}}"] == 1
    assert found[f'babelclip_worker_memory_bytes{{{which},worker="9000"}}'] > 1_000_000
    assert f'babelclip_worker_memory_bytes{{{which},worker="9001"}}' not in found


def test_a_renewed_token_is_read_again(management: Management, tokens: Path) -> None:
    """Keys expire and are renewed while the server runs; the metrics go on by themselves."""
    metrics = QueueMetrics(management.url, tokens, port=0)
    management.key = "second"
    refused = scrape(metrics.url)
    write(tokens, "second")
    renewed = scrape(metrics.url)
    metrics.close()
    assert refused == {"babelclip_queue_up": 0.0}
    assert renewed["babelclip_queue_up"] == 1.0


@pytest.mark.parametrize("trouble", ["no file", "no JSON", "nobody", "another service"])
def test_what_cannot_be_read_is_not_zero(
    management: Management, tokens: Path, trouble: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without an answer no depth is shown: an old or a made-up one would hide that nobody knows."""
    url = management.url
    if trouble == "no file":
        tokens.unlink()
    elif trouble == "no JSON":
        tokens.write_text("{")
    elif trouble == "nobody":
        with socket.socket() as unused:
            unused.bind(("127.0.0.1", 0))
            url = f"http://127.0.0.1:{unused.getsockname()[1]}"
    else:
        monkeypatch.setattr(json, "load", lambda _: [])
    metrics = QueueMetrics(url, tokens, port=0)
    found = scrape(metrics.url)
    metrics.close()
    assert found == {"babelclip_queue_up": 0.0}


def test_it_runs_by_itself(management: Management, tokens: Path) -> None:
    """Whoever starts TorchServe in another way runs the file beside it, and ends it with SIGTERM."""
    command = [sys.executable, queue_metrics.__file__, "--management", management.url]
    command += ["--token-file", str(tokens), "--port", "0"]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        found = scrape(process.stdout.readline().split()[-1])
        process.terminate()
        assert process.wait(60) == 0
    assert found["babelclip_queue_up"] == 1.0


def test_a_taken_port_is_an_error_in_words(
    management: Management, tokens: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whoever chose a port that is in use reads which, not a stack trace."""
    arguments = ["--management", management.url, "--token-file", str(tokens)]
    taken = str(management.server_port)
    assert queue_metrics.main([*arguments, "--port", taken]) == 1
    assert taken in capsys.readouterr().err


def test_no_proxy_answers_for_this_machine(
    management: Management, tokens: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the environment names a proxy, management is asked without it, and IPv6 is an address as any."""
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    exporter = QueueMetrics(management.url, tokens, port=0, host="::1")
    try:
        assert exporter.url.startswith("http://[::1]:")
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        assert b"babelclip_queue_up 1.0" in opener.open(exporter.url, timeout=60).read()
    finally:
        exporter.close()

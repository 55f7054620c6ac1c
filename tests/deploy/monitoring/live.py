"""A served model, a Prometheus that scrapes it by deploy/monitoring, and callers who also send poison."""

import base64
import contextlib
import json
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import httpx
import yaml

from babelclip.keys.entries import SCOPES, Limits
from babelclip.keys.file import add
from gateway.rpc import embedder_pb2 as pb
from tests.deploy.monitoring.tools import MONITORING, tool
from tests.e2e.support import PATIENCE, launched
from tests.places import SAMPLES

_APPLE = (SAMPLES / "1f34e.png").read_bytes()
_JOBS = {
    "babelclip-gateway": "metrics",
    "babelclip-towers": "engine.metrics",
    "babelclip-queues": "engine.queue_metrics",
}


class Prometheus:
    """A Prometheus that runs."""

    def __init__(self, url: str) -> None:
        self.url = url

    def get(self, path: str, **words: str) -> Any:
        """The data of an answer of its API."""
        answer = httpx.get(f"{self.url}/api/v1/{path}", params=words, timeout=60)
        assert answer.status_code == 200, (words, answer.text)
        return answer.json()["data"]

    def query(self, expr: str) -> dict[str, float]:
        """Series → value, as they are now."""
        found = self.get("query", query=expr)["result"]
        return {json.dumps(one["metric"], sort_keys=True): float(one["value"][1]) for one in found}


def wait_until(holds: Callable[[], Any], what: Callable[[], str] = str) -> None:
    """Wait for what must come to hold."""
    give_up = time.monotonic() + PATIENCE
    while not holds():
        assert time.monotonic() < give_up, what()
        time.sleep(0.2)


def configuration(facts: dict[str, Any], folder: Path) -> Path:
    """deploy/monitoring/prometheus.yml for the addresses of this server, scraped every three seconds."""
    given = yaml.safe_load((MONITORING / "prometheus.yml").read_text(encoding="utf-8"))
    given["global"] = {"scrape_interval": "3s", "evaluation_interval": "3s"}
    given["rule_files"] = [str(MONITORING / pattern) for pattern in given["rule_files"]]
    del given["alerting"]
    for job in given["scrape_configs"]:
        found: Any = facts
        for name in _JOBS[job["job_name"]].split("."):
            found = found[name]
        address = httpx.URL(found)
        job["static_configs"] = [{"targets": [f"{address.host}:{address.port}"]}]
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(given))
    return file


@contextlib.contextmanager
def prometheus(facts: dict[str, Any], folder: Path) -> Iterator[Prometheus]:
    """A Prometheus of its own, which has scraped all of the server."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    process = subprocess.Popen(
        [
            tool("prometheus"),
            f"--config.file={configuration(facts, folder)}",
            f"--storage.tsdb.path={folder / 'data'}",
            f"--web.listen-address=127.0.0.1:{port}",
            "--enable-feature=exemplar-storage",
            "--log.level=warn",
        ]
    )
    try:
        running = Prometheus(f"http://127.0.0.1:{port}")

        def scraped() -> bool:
            assert process.poll() is None, "Prometheus ended"
            try:
                ready = httpx.get(f"{running.url}/-/ready", timeout=60).status_code == 200
                return ready and len(running.query("up == 1")) == len(_JOBS)
            except httpx.TransportError:
                return False

        wait_until(scraped)
        yield running
    finally:
        process.terminate()
        process.wait(PATIENCE)


class Callers:
    """Those who call a gateway: a shop, a partner who wants too much, and somebody without a key."""

    def __init__(self, facts: dict[str, Any]) -> None:
        keys = Path(facts["keys_file"])
        ends = datetime.now(UTC) + timedelta(days=30)
        self.model = facts["model"]
        self._http = facts["http"]
        self._grpc = facts["grpc"].removeprefix("grpc://")
        self._shop = add(keys, "shop", scopes=SCOPES, expires=ends)
        self._partner = add(keys, "partner", limits=Limits(requests_per_second=0.01))
        created = self._call("POST", "/v1/collections", {"name": "fruit"})
        assert created.status_code == 201, created.text

    def round(self) -> None:
        """Calls of every kind: good ones, poison, refusals, a burst, a collection and a job."""
        apple = base64.b64encode(_APPLE).decode()
        good = {"image": apple}
        cut, none = (base64.b64encode(content).decode() for content in (_APPLE[:200], b"hello"))
        poison = [{"image": cut}, {"image": none}, {"image": "*"}, " ", "word " * 5000]
        for item in (*poison, "ein roter Apfel", good):
            self._call("POST", "/v1/embeddings", {"input": ["a", good, item], "errors": "return"})
        self._call("POST", "/v1/embeddings", {"input": ["a"] * 8 + [good] * 8})
        self._call("POST", "/v1/embeddings", {"input": "a", "model": "unknown"})
        self._call("POST", "/v1/classify", {"input": [good], "labels": ["apple", "cat"]})
        httpx.post(f"{self._http}/v1/embeddings", json={"input": "a"}, timeout=PATIENCE)
        for _ in range(3):  # Each of the two processes lets one through.
            self._call("POST", "/v1/embeddings", {"input": "b"}, self._partner)
        self._embed_by_grpc()
        with ThreadPoolExecutor(
            4
        ) as pool:  # more than the towers have at a time: some wait, some are refused
            list(pool.map(self._burst, range(4)))
        collection = "/v1/collections/fruit"
        items = [{"id": "apple", "image": apple}, {"id": "broken", "image": "aGVsbG8="}]
        self._call("POST", f"{collection}/items", {"items": items})
        self._call("POST", f"{collection}/search", {"query": "apple"})
        self._call("GET", f"{collection}/items/none")
        self._call("POST", f"{collection}/jobs", {"kind": "dedup"})

    def _burst(self, number: int) -> None:
        texts = [f"text {number} {place} {time.monotonic_ns()}" for place in range(64)]
        self._call("POST", "/v1/embeddings", {"input": texts})

    def _embed_by_grpc(self) -> None:
        sent = pb.EmbedItemsRequest(items=[pb.Item(text="a"), pb.Item(image=_APPLE)]).SerializeToString()
        with grpc.insecure_channel(self._grpc) as channel:
            call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(
                "/babelclip.v1.Embedder/Embed"
            )
            call(sent, metadata=(("authorization", f"Bearer {self._shop}"),), timeout=PATIENCE)

    def _call(self, method: str, path: str, body: object = None, key: str = "") -> httpx.Response:
        headers = {"authorization": f"Bearer {key or self._shop}"}
        return httpx.request(method, f"{self._http}{path}", json=body, headers=headers, timeout=PATIENCE)


@contextlib.contextmanager
def served(store: Path, folder: Path) -> Iterator[dict[str, Any]]:
    """TorchServe and a gateway of two processes, with all metrics → what scripts/serve says of them."""
    settings = folder / "gateway.toml"
    settings.write_text(
        f"collections = '{folder / 'collections'}'\ncache_mb = 1\nitems_at_tower = 4\nprobe_seconds = 1.0\n"
        "log_requests = false\n"
    )
    words = ("--store", store, "--run-dir", folder / "run", "--ports", "auto", "--queue-metrics-port", "0")
    gateway = ("--gateway-config", settings, "--gateway-workers", "2")
    with launched(*words, *gateway, script="serve.py") as launcher:
        yield launcher.wait_facts()

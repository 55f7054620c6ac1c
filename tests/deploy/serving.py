"""What is asked of a container that serves, whatever it is made of."""

import json
import socket
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import httpx

from tests.deploy.confinement import UID, Confined
from tests.e2e.support import summed
from tests.places import REPOSITORY

HTTP, METRICS = 8000, 8002
ITEMS = 40


@dataclass(frozen=True)
class Serving:
    """A container that has said that it is ready, and the key that it made."""

    container: Confined
    key: str

    def get(self, path: str, port: int = HTTP) -> httpx.Response:
        """What an address answers, from inside."""
        return self.container.inside(lambda: httpx.get(f"http://127.0.0.1:{port}{path}", timeout=60.0))

    def embed(self, texts: list[str]) -> httpx.Response:
        """The embeddings of texts."""
        headers = {"authorization": f"Bearer {self.key}"}
        return self.container.inside(
            lambda: httpx.post(
                f"http://127.0.0.1:{HTTP}/v1/embeddings", headers=headers, json={"input": texts}, timeout=60.0
            )
        )


def wait_ready(container: Confined) -> Serving:
    """Wait until both towers embed; the first start has shown a key."""
    shown = container.wait_line("shown this once: ")
    container.wait_line("ready: {")
    return Serving(container, shown.rpartition(" ")[2])


class UnderWay:
    """A request whose body is there to a half: it can only be answered when the rest was sent."""

    def __init__(self, serving: Serving) -> None:
        self._body = json.dumps({"input": [f"text {number}" for number in range(ITEMS)]}).encode()
        head = (
            "POST /v1/embeddings HTTP/1.1\r\nhost: babelclip\r\ncontent-type: application/json\r\n"
            f"authorization: Bearer {serving.key}\r\ncontent-length: {len(self._body)}\r\n\r\n"
        )
        connect: Callable[[], socket.socket] = lambda: socket.create_connection(("127.0.0.1", HTTP), 60.0)  # noqa: E731
        self._connection = serving.container.inside(connect)
        self._connection.sendall(head.encode() + self._body[: len(self._body) // 2])

    def finish(self) -> list[object]:
        """Send the rest; return the embeddings of the answer."""
        self._connection.sendall(self._body[len(self._body) // 2 :])
        with self._connection, self._connection.makefile("rb") as answer:
            status = answer.readline()
            assert b" 200 " in status, status
            content = answer.read().partition(b"\r\n\r\n")[2]
        embeddings: list[object] = json.loads(content)["data"]
        return embeddings


def check_confined(container: Confined) -> None:
    """Every process is nobody, for good; nothing but the mounts can be written to; there is no network."""
    first = container.first()
    for process in [first, *first.children(recursive=True)]:
        status = dict(
            line.split(":\t", 1) for line in Path(f"/proc/{process.pid}/status").read_text().splitlines()
        )
        assert status["Uid"].split() == [str(UID)] * 4, process
        assert status["NoNewPrivs"] == "1"
        assert all(int(status[kind], 16) == 0 for kind in ("CapEff", "CapPrm", "CapBnd", "CapInh")), process
    mounts = {}
    for line in Path(f"/proc/{first.pid}/mountinfo").read_text().splitlines():
        fields, _, kind = line.partition(" - ")
        mounts[fields.split()[4]] = (fields.split()[5].split(","), kind.split()[-1])
    assert "ro" in mounts["/"][0]
    assert "ro" in mounts["/models"][0]
    assert "size=65536k" in mounts["/dev/shm"][1]
    interfaces = Path(f"/proc/{first.pid}/net/dev").read_text().splitlines()[2:]
    assert [line.partition(":")[0].strip() for line in interfaces] == ["lo"]


def check_serving(serving: Serving) -> None:
    """Both towers give their golden items, the page and all metrics are there, and texts are embedded."""
    assert serving.get("/readyz").status_code == 200
    health = [sys.executable, str(REPOSITORY / "deploy" / "containers" / "healthcheck.py")]
    checked = serving.container.inside(lambda: subprocess.run(health, capture_output=True, text=True))
    assert checked.returncode == 0, checked.stdout
    assert serving.get("/ui/").status_code == 200
    answer = serving.embed(["ein roter Apfel", "школа"])
    assert answer.status_code == 200, answer.text
    assert len(answer.json()["data"]) == 2
    # All three that Prometheus asks are at one port.
    for path, metric in (
        ("/metrics", "babelclip_gateway_model_ready"),
        ("/metrics/engine", "babelclip_items_total"),
        ("/metrics/queues", "babelclip_queue_depth"),
    ):
        told = serving.get(path, METRICS)
        assert metric in told.text
        assert told.headers["content-type"].startswith("text/plain; version=")


def check_stop(serving: Serving) -> None:
    """SIGTERM ends it with status 0, and what was under way is answered before."""
    under_way = UnderWay(serving)
    while not _in_progress(serving):
        pass
    serving.container.terminate()
    serving.container.wait_line("the gateway answers what is under way")
    assert len(under_way.finish()) == ITEMS
    status, printed = serving.container.wait_ended()
    assert status == 0, printed
    assert "Traceback" not in printed


def _in_progress(serving: Serving) -> float:
    metrics = serving.get("/metrics", METRICS).text
    return summed(metrics, "babelclip_gateway_requests_in_progress", call="/v1/embeddings")

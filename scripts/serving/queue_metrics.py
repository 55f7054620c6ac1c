"""How many requests wait in TorchServe's queues, and what its workers are, as Prometheus metrics.

TorchServe 0.12 has no metric of it, and a handler cannot see the queue it is fed from; only the management
address tells. `scripts/serve --queue-metrics-port 8083` runs this beside the server, and so does

    python scripts/serving/queue_metrics.py --management http://127.0.0.1:8081 --token-file key_file.json

for a TorchServe that was started in another way. Every scrape asks the server anew:

    babelclip_queue_depth{tower,version}    requests that no worker has taken yet
    babelclip_queue_free{tower,version}     requests that still fit; at 0 callers get 503
    babelclip_workers{tower,version}        processes that serve the tower
    babelclip_workers_ready{tower,version}  those of them that can take requests
    babelclip_worker_memory_bytes{tower,version,worker}   what one has in memory
    babelclip_queue_up                      1; 0 without an answer, and then the others are absent
"""

import argparse
import http.client
import json
import signal
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import psutil
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.core import GaugeMetricFamily
from prometheus_client.registry import Collector

ANSWER_SECONDS = 5.0  # Prometheus gives up a scrape after 10.


class QueueCollector(Collector):
    """The queues of all models of one TorchServe, read when they are asked for."""

    def __init__(self, management: str, tokens: Path) -> None:
        """`management` is http://HOST:PORT, `tokens` TorchServe's key_file.json, read for every scrape."""
        self._management = management.rstrip("/")
        self._tokens = tokens
        # Management stays on the server's machine: a proxy of the environment answers for another one.
        self._opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def collect(self) -> Iterator[GaugeMetricFamily]:
        """The metrics as of now; never raises for a server that is down or refuses."""
        labels = ["tower", "version"]
        depth = GaugeMetricFamily("babelclip_queue_depth", "Requests that wait for a worker.", labels=labels)
        free = GaugeMetricFamily("babelclip_queue_free", "Requests that still fit.", labels=labels)
        workers = GaugeMetricFamily("babelclip_workers", "Workers of a tower.", labels=labels)
        ready = GaugeMetricFamily("babelclip_workers_ready", "Workers that take requests.", labels=labels)
        memory = GaugeMetricFamily(
            "babelclip_worker_memory_bytes", "Memory that a worker has.", labels=[*labels, "worker"]
        )
        up = True
        try:
            # Keys are renewed under a running server, and are new at each start of one.
            token = str(json.loads(self._tokens.read_bytes())["management"]["key"])
            for model in self._get("/models?limit=100", token)["models"]:
                name = str(model["modelName"])
                for version in self._get(f"/models/{urllib.parse.quote(name, safe='')}/all", token):
                    queue = version["jobQueueStatus"]
                    which = [name, str(version["modelVersion"])]
                    depth.add_metric(which, float(queue["pendingRequests"]))
                    free.add_metric(which, float(queue["remainingCapacity"]))
                    states = [worker["status"] for worker in version["workers"]]
                    workers.add_metric(which, float(len(states)))
                    ready.add_metric(which, float(states.count("READY")))
                    for worker in version["workers"]:
                        # Not what TorchServe says of it, which is ten minutes old.
                        with suppress(psutil.Error, ValueError):
                            size = psutil.Process(int(worker["pid"])).memory_info().rss
                            memory.add_metric([*which, str(worker["id"])], float(size))
        except (OSError, http.client.HTTPException, ValueError, KeyError, TypeError):
            up = False
        if up:
            yield from (depth, free, workers, ready, memory)
        yield GaugeMetricFamily("babelclip_queue_up", "Whether the server told.", value=float(up))

    def _get(self, path: str, token: str) -> Any:
        request = urllib.request.Request(
            self._management + path, headers={"authorization": f"Bearer {token}"}
        )
        with self._opener.open(request, timeout=ANSWER_SECONDS) as answer:
            return json.load(answer)


class QueueMetrics:
    """An address that Prometheus scrapes, in threads of this process."""

    def __init__(self, management: str, tokens: Path, *, port: int, host: str = "127.0.0.1") -> None:
        """Listen on `port`, 0 for any free one.

        Raises:
            OSError, OverflowError: the port is taken, or none.
        """
        registry = CollectorRegistry()
        registry.register(QueueCollector(management, tokens))
        self._server, self._thread = start_http_server(port, addr=host, registry=registry)
        shown = f"[{host}]" if ":" in host else host
        self.url = f"http://{shown}:{self._server.server_port}/metrics"

    def close(self) -> None:
        """Stop listening."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def main(arguments: list[str]) -> int:
    """Serve the metrics until Ctrl-C or SIGTERM; return the exit status."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--management", required=True, metavar="URL", help="http://127.0.0.1:8081")
    parser.add_argument("--token-file", required=True, type=Path, help="TorchServe's key_file.json")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", default=8083, type=int, help="port to listen on (default: 8083)")
    options = parser.parse_args(arguments)
    stop = threading.Event()
    for expected in (signal.SIGINT, signal.SIGTERM):
        signal.signal(expected, lambda *_: stop.set())
    try:
        metrics = QueueMetrics(options.management, options.token_file, port=options.port, host=options.host)
    except (OSError, OverflowError) as problem:
        print(f"cannot listen on {options.host}:{options.port}: {problem}", file=sys.stderr)
        return 1
    print(f"queue metrics at {metrics.url}", flush=True)
    stop.wait()
    metrics.close()
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))

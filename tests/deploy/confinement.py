"""A container without an engine: namespaces, mounts, limits and a user, as an engine would make them.

A tree of files is the root, read-only; /tmp and /dev/shm are small and in memory; the network is a loopback
device and nothing else; the user has an id that no file knows, and no capability or way to one. It takes root
and util-linux. `run` has the details.
"""

import concurrent.futures
import contextlib
import ctypes
import os
import queue
import shlex
import shutil
import signal
import subprocess
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import psutil

from tests.e2e.support import PATIENCE

T = TypeVar("T")

UID, GID = 54321, 0
DEVICES = ("null", "zero", "full", "random", "urandom")
CGROUPS = Path("/sys/fs/cgroup")
CLONE_NEWNET = 0x40000000

# The loopback device of a new network is down: SIOCSIFFLAGS, IFF_UP | IFF_RUNNING.
LOOPBACK_UP = (
    'import fcntl, socket, struct;fcntl.ioctl(socket.socket(), 0x8914, struct.pack("16sh", b"lo", 0x41))'
)


def why_not() -> str:
    """What this machine lacks to confine a process, "" if nothing."""
    if os.geteuid() != 0:
        return "needs root, to make namespaces and mounts"
    for tool in ("unshare", "mount", "chroot", "setpriv"):
        if shutil.which(tool) is None:
            return f"needs {tool}"
    tried = subprocess.run(
        ["unshare", "--mount", "--pid", "--net", "--fork", "mount", "-t", "tmpfs", "none", "/tmp"],
        capture_output=True,
        text=True,
    )
    return f"no namespaces here: {tried.stderr.strip()}" if tried.returncode else ""


@dataclass(frozen=True)
class Tree:
    """What the root holds: an image's files, or an empty root with folders of this machine in it.

    Attributes:
        root: the folder of the image; None for an empty root.
        folders: by their place in the root, what is shown there, read-only.
        links: by their place, where symbolic links of an empty root lead.
        environment: of the process.
    """

    root: Path | None
    folders: Mapping[str, Path]
    links: Mapping[str, str]
    environment: Mapping[str, str]


class Confined:
    """A process that runs in such a container, and the lines it has printed."""

    def __init__(self, command: Sequence[str], group: Callable[[], None]) -> None:
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            start_new_session=True,
            preexec_fn=group,
        )
        self.lines: list[str] = []
        self._arriving: queue.Queue[str | None] = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            for line in output:
                self._arriving.put(line.rstrip("\n"))
        self._arriving.put(None)

    def wait_line(self, part: str) -> str:
        """Wait for a line that holds `part`, and return it."""
        give_up = time.monotonic() + PATIENCE
        while (line := self._arriving.get(timeout=max(0.0, give_up - time.monotonic()))) is not None:
            self.lines.append(line)
            if part in line:
                return line
        raise AssertionError(f"ended without a line that holds {part!r}:\n" + "\n".join(self.lines))

    def wait_ended(self) -> tuple[int, str]:
        """Wait for the end; return the exit status and everything printed."""
        status = self._process.wait(PATIENCE)
        while (line := self._arriving.get(timeout=PATIENCE)) is not None:
            self.lines.append(line)
        return status, "\n".join(self.lines)

    def first(self) -> psutil.Process:
        """Process 1 of the container."""
        return psutil.Process(self._process.pid).children()[0]

    def terminate(self) -> None:
        """Send SIGTERM to process 1, as an engine does."""
        self.first().send_signal(signal.SIGTERM)

    def inside(self, call: Callable[[], T]) -> T:
        """What `call` returns where the network is the container's; a socket that it opens stays there."""
        return inside(Path(f"/proc/{self.first().pid}/ns/net"), call)

    def has_ended(self) -> bool:
        """Whether it has ended."""
        return self._process.poll() is not None

    def kill(self) -> None:
        """End it at once, if it has not ended; all in the container ends with it."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait(PATIENCE)


def inside(network: Path, call: Callable[[], T]) -> T:
    """What `call` returns in the network of this file; a socket that it opens stays there."""

    def entered() -> T:
        with network.open() as file:
            if ctypes.CDLL(None, use_errno=True).setns(file.fileno(), CLONE_NEWNET):
                raise OSError(ctypes.get_errno(), "cannot enter the network")
        return call()

    # A network is entered by a thread, and this one is not used again.
    with concurrent.futures.ThreadPoolExecutor(1) as thread:
        return thread.submit(entered).result()


@contextlib.contextmanager
def run(
    tree: Tree,
    command: Sequence[str],
    *,
    scratch: Path,
    writable: Mapping[str, Path],
    readable: Mapping[str, Path],
    shm_mb: int = 64,
    tmp_mb: int = 64,
    cores: float | None = None,
    memory: int | None = None,
    network: Path | None = None,
) -> Iterator[Confined]:
    """Run a command in a container that ends with the block.

    Args:
        network: the file of a network to be in; None for a new one, which is a loopback device.
        scratch: an empty folder, of nobody else.
        writable, readable: by their place in the root, folders that are mounted there; the first are given to
            the user. All else cannot be written to.
        cores, memory: the limits of its control group, of this machine's version; None for none. Bytes.
    """
    root = scratch / "root"
    root.mkdir()
    for folder in writable.values():
        os.chown(folder, UID, GID)
    steps = [_bound(tree.root, root)] if tree.root else [f"mount -t tmpfs -o mode=755 none {root}"]
    places = ("proc", "sys", "dev", "tmp", "run", *(place.lstrip("/") for place in (*writable, *readable)))
    if not tree.root:
        steps += [f"mkdir -p {_words(root / place for place in places)}"]
        steps += [
            f"ln -s {shlex.quote(leads)} {root / place.lstrip('/')}" for place, leads in tree.links.items()
        ]
    steps += [
        f"mount -t tmpfs -o mode=1777,nosuid,nodev,noexec,size={tmp_mb}m none {root}/tmp",
        f"mount -t tmpfs -o mode=755,nosuid none {root}/dev",
        f"mkdir {root}/dev/shm",
        f"mount -t tmpfs -o mode=1777,nosuid,nodev,noexec,size={shm_mb}m none {root}/dev/shm",
        f"ln -s /proc/self/fd {root}/dev/fd",
        *(f"touch {root}/dev/{name} && mount --bind /dev/{name} {root}/dev/{name}" for name in DEVICES),
        f"mount --rbind /sys {root}/sys",
        f"mount -o remount,bind,ro {root}/sys",
    ]
    for place, folder in tree.folders.items():
        target = root / place.lstrip("/")
        make = f"touch {target}" if folder.is_file() else f"mkdir -p {target}"
        steps += [f"mkdir -p {target.parent} && {make}", _bound(folder, target), _read_only(target)]
    for place, folder in readable.items():
        steps += [_bound(folder, root / place.lstrip("/")), _read_only(root / place.lstrip("/"))]
    for place, folder in writable.items():  # Which may lie in /tmp.
        target = root / place.lstrip("/")
        steps += [f"mkdir -p {target}", _bound(folder, target)]
    steps += [
        _read_only(root),
        f"mount -t proc -o nosuid,nodev,noexec proc {root}/proc",
        f"{shlex.quote(shutil.which('python3') or 'python3')} -c {shlex.quote(LOOPBACK_UP)}",
    ]
    variables = [f"{name}={value}" for name, value in tree.environment.items()]
    user = [f"--reuid={UID}", f"--regid={GID}", "--clear-groups", "--no-new-privs"]
    confined = ["setpriv", *user, "--inh-caps=-all", "--bounding-set=-all", "env", "-i", *variables, *command]
    steps += [f"exec chroot {root} {_words(confined)}"]
    entering = [] if network is None else ["nsenter", f"--net={network}"]
    own = ["--net"] if network is None else []
    namespaces = ["--mount", "--pid", *own, "--ipc", "--uts", "--fork", "--kill-child"]
    with _limited(cores, memory) as group:
        started = Confined([*entering, "unshare", *namespaces, "sh", "-euc", "\n".join(steps)], group)
        try:
            yield started
        finally:
            started.kill()


def can_limit() -> str:
    """Why no control group can be made here, "" if one can."""
    try:
        with _limited(1.0, 1 << 30):
            return ""
    except OSError as problem:
        return f"no control group can be made here: {problem}"


@contextlib.contextmanager
def _limited(cores: float | None, memory: int | None) -> Iterator[Callable[[], None]]:
    """What a process calls to be in a group with these limits; the group goes with the block.

    Raises:
        OSError: there can be no such group.
    """
    name = f"babelclip-{uuid.uuid4().hex[:8]}"
    limits: list[tuple[Path, dict[str, str]]] = []
    if (CGROUPS / "cgroup.controllers").exists():
        files = {} if cores is None else {"cpu.max": f"{int(cores * 100_000)} 100000"}
        limits.append((CGROUPS / name, files if memory is None else {**files, "memory.max": str(memory)}))
    else:
        if cores is not None:
            limits.append((CGROUPS / "cpu" / name, {"cpu.cfs_quota_us": str(int(cores * 100_000))}))
        if memory is not None:
            limits.append((CGROUPS / "memory" / name, {"memory.limit_in_bytes": str(memory)}))
    if cores is None and memory is None:
        limits = []

    def join() -> None:
        for folder, _ in limits:
            (folder / "cgroup.procs").write_text(str(os.getpid()))

    made = []
    try:
        for folder, files in limits:
            folder.mkdir()
            made.append(folder)
            for file, value in files.items():
                (folder / file).write_text(value)
        yield join
    finally:
        for folder in made:
            _remove_group(folder)


def _remove_group(folder: Path) -> None:
    """Take away a group whose processes are ending."""
    give_up = time.monotonic() + PATIENCE
    while True:
        try:
            folder.rmdir()
        except OSError:
            if time.monotonic() > give_up:
                raise
            time.sleep(0.1)
        else:
            return


def _bound(source: Path, target: Path) -> str:
    return f"mount --bind {shlex.quote(str(source))} {shlex.quote(str(target))}"


def _read_only(target: Path) -> str:
    return f"mount -o remount,bind,ro {shlex.quote(str(target))}"


def _words(words: Iterator[Path] | Sequence[str]) -> str:
    return shlex.join(map(str, words))

"""Cores and memory within the limits of a container, read from file systems like those of real ones."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from handlers.runtime.machine import (
    parse_memberships,
    parse_mounts,
    parse_numbers,
    usable_cores,
    usable_memory,
)
from tests.places import REPOSITORY

MOUNTINFO = Path("/proc/self/mountinfo")
GIB = 1 << 30
V2 = "30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:4 - cgroup2 cgroup2 rw,nsdelegate"
V1 = (
    "32 31 0:29 {top} /sys/fs/cgroup/cpu,cpuacct ro,nosuid - cgroup cgroup rw,cpu,cpuacct\n"
    "35 31 0:32 {top} /sys/fs/cgroup/memory ro,nosuid - cgroup cgroup rw,memory\n"
    "37 31 0:34 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd"
)
OTHERS = "22 1 8:1 / / rw,relatime shared:1 - ext4 /dev/root rw\n23 22 0:5 / /proc rw - proc proc rw\n"


@pytest.fixture(autouse=True)
def sixty_four_cores(monkeypatch: pytest.MonkeyPatch) -> None:
    """The affinity of a large machine, which a container's quota does not change."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: set(range(64)), raising=False)


def machine(root: Path, *, mounts: str, own: str, files: Mapping[str, str], free: int = 100 * GIB) -> Path:
    """A root folder with the files that the kernel would show; `files` by their paths in /sys/fs/cgroup."""
    shown = {f"sys/fs/cgroup/{name}": text for name, text in files.items()}
    shown["proc/self/mountinfo"] = OTHERS + mounts + "\n"
    shown["proc/self/cgroup"] = own + "\n"
    shown["proc/meminfo"] = f"MemTotal: 999999999 kB\nMemAvailable:   {free // 1024} kB\n"
    for name, text in shown.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


@pytest.mark.parametrize(
    ("mounts", "own", "files", "cores"),
    [
        (V2, "0::/", {}, 64),
        (V2, "0::/", {"cpu.max": "200000 100000\n"}, 2),
        (V2, "0::/", {"cpu.max": "max 100000\n"}, 64),
        (V2, "0::/", {"cpu.max": "150000 100000\n"}, 2),
        (V2, "0::/", {"cpu.max": "1000 100000\n"}, 1),
        (V2, "0::/", {"cpu.max": "9900000 100000\n"}, 64),
        # A service in a slice, each with a limit of its own: the smaller counts, wherever it stands.
        (
            V2,
            "0::/a.slice/b.service",
            {"a.slice/cpu.max": "300000 100000", "a.slice/b.service/cpu.max": "max 1"},
            3,
        ),
        (
            V2,
            "0::/a/b/c",
            {"a/cpu.max": "800000 100000", "a/b/cpu.max": "400000 100000", "a/b/c/cpu.max": "500000 100000"},
            4,
        ),
        # Another group's limit is not ours.
        (V2, "0::/a", {"b/cpu.max": "100000 100000", "a/x/cpu.max": "100000 100000"}, 64),
        # Moved out of its namespace, a process sees a path that leads out of what is mounted.
        (V2, "0::/../other", {"cpu.max": "500000 100000"}, 5),
        (V1.format(top="/"), "4:cpu,cpuacct:/", {"cpu,cpuacct/cpu.cfs_quota_us": "-1"}, 64),
        (
            V1.format(top="/"),
            "4:cpu,cpuacct:/box",
            {
                "cpu,cpuacct/box/cpu.cfs_quota_us": "200000\n",
                "cpu,cpuacct/box/cpu.cfs_period_us": "100000\n",
                "cpu,cpuacct/cpu.cfs_quota_us": "-1\n",
                "cpu,cpuacct/cpu.cfs_period_us": "100000\n",
            },
            2,
        ),
        # Docker without a namespace: the machine's path, where the container's own group is mounted.
        (
            V1.format(top="/docker/0a1b"),
            "4:cpu,cpuacct:/docker/0a1b",
            {"cpu,cpuacct/cpu.cfs_quota_us": "300000", "cpu,cpuacct/cpu.cfs_period_us": "100000"},
            3,
        ),
        (
            V1.format(top="/docker/0a1b"),
            "4:cpu,cpuacct:/docker/0a1b/inner",
            {"cpu,cpuacct/inner/cpu.cfs_quota_us": "300000", "cpu,cpuacct/inner/cpu.cfs_period_us": "100000"},
            3,
        ),
        # A path that the mount does not hold.
        (
            V1.format(top="/kubepods/pod1"),
            "4:cpu,cpuacct:/elsewhere",
            {"cpu,cpuacct/cpu.cfs_quota_us": "100000", "cpu,cpuacct/cpu.cfs_period_us": "50000"},
            2,
        ),
        # Hybrid: the tree of version 2 is there, and cores are still limited by version 1.
        (
            V1.format(top="/") + "\n41 31 0:38 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw",
            "4:cpu,cpuacct:/box\n0::/box",
            {
                "cpu,cpuacct/box/cpu.cfs_quota_us": "200000",
                "cpu,cpuacct/box/cpu.cfs_period_us": "100000",
                "unified/box/cgroup.procs": "1\n",
            },
            2,
        ),
        # What is no number limits nothing.
        (V2, "0::/", {"cpu.max": ""}, 64),
        (V2, "0::/", {"cpu.max": "200000"}, 64),
        (V2, "0::/", {"cpu.max": "200000 0"}, 64),
        (V2, "0::/", {"cpu.max": "-5 100000"}, 64),
        (V2, "0::/", {"cpu.max": "many 100000"}, 64),
        (V2, "nonsense", {"cpu.max": "200000 100000"}, 64),
        ("nonsense - cgroup2", "0::/", {"cpu.max": "200000 100000"}, 64),
        (
            V2.replace("/sys/fs/cgroup", "/sys/fs/c\\040group"),
            "0::/",
            {"../c group/cpu.max": "200000 100000"},
            2,
        ),
    ],
)
def test_cores_are_those_of_the_container(
    tmp_path: Path, mounts: str, own: str, files: dict[str, str], cores: int
) -> None:
    """A quota of either version of control groups counts, at every level, in every way containers show it."""
    assert usable_cores(machine(tmp_path, mounts=mounts, own=own, files=files)) == cores


def test_fewer_cores_than_the_quota_are_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """taskset and cpusets still count where a quota would allow more."""
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 5, 9}, raising=False)
    root = machine(tmp_path, mounts=V2, own="0::/", files={"cpu.max": "800000 100000"})
    assert usable_cores(root) == 3


def test_a_machine_without_control_groups_has_its_cores(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where nothing of Linux can be read, Python's own count holds, and memory is what is installed."""
    assert usable_cores(tmp_path) == 64
    monkeypatch.delattr(os, "sched_getaffinity", raising=False)
    assert usable_cores(tmp_path) == (os.cpu_count() or 1)
    assert usable_memory(tmp_path) == os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


UNLIMITED = "9223372036854771712"


@pytest.mark.parametrize(
    ("mounts", "own", "files", "gib"),
    [
        (V2, "0::/", {}, 100),
        (V2, "0::/", {"memory.max": "max\n", "memory.current": str(GIB)}, 100),
        (V2, "0::/", {"memory.max": str(4 * GIB)}, 4),
        (V2, "0::/", {"memory.max": str(4 * GIB), "memory.current": str(GIB)}, 3),
        (V2, "0::/", {"memory.max": str(4 * GIB), "memory.high": str(2 * GIB)}, 2),
        (V2, "0::/", {"memory.max": str(4 * GIB), "memory.current": str(9 * GIB)}, 0),
        (V2, "0::/", {"memory.max": str(900 * GIB)}, 100),
        # Files that were read are given up when memory is short.
        (
            V2,
            "0::/",
            {
                "memory.max": str(4 * GIB),
                "memory.current": str(3 * GIB),
                "memory.stat": f"anon {GIB}\nfile {2 * GIB}\nactive_file {GIB}\ninactive_file {GIB}\n",
            },
            3,
        ),
        # Within the pod's limit, its other containers count.
        (
            V2,
            "0::/pod/box",
            {
                "pod/box/memory.max": str(4 * GIB),
                "pod/memory.max": str(6 * GIB),
                "pod/memory.current": str(5 * GIB),
            },
            1,
        ),
        (V1.format(top="/"), "3:memory:/", {"memory/memory.limit_in_bytes": UNLIMITED}, 100),
        (
            V1.format(top="/"),
            "3:memory:/box",
            {
                "memory/box/memory.limit_in_bytes": str(8 * GIB),
                "memory/box/memory.usage_in_bytes": str(3 * GIB),
                "memory/box/memory.stat": f"total_active_file {GIB}\ntotal_inactive_file {GIB}\n",
            },
            7,
        ),
        # The limit of a group further up, which the container cannot see.
        (
            V1.format(top="/kubepods/pod1/box"),
            "3:memory:/kubepods/pod1/box",
            {
                "memory/memory.limit_in_bytes": UNLIMITED,
                "memory/memory.stat": f"hierarchical_memory_limit {2 * GIB}\n",
            },
            2,
        ),
        (V2, "0::/", {"memory.max": "plenty", "memory.current": "x", "memory.stat": "file\nanon x\n\n"}, 100),
    ],
)
def test_memory_is_what_the_container_has_left(
    tmp_path: Path, mounts: str, own: str, files: dict[str, str], gib: int
) -> None:
    """A limit of either version counts, less what is in use and cannot be given up."""
    assert usable_memory(machine(tmp_path, mounts=mounts, own=own, files=files)) == gib * GIB


def test_the_machines_own_memory_is_a_limit_too(tmp_path: Path) -> None:
    """A container may be allowed more than its machine has left."""
    root = machine(tmp_path, mounts=V2, own="0::/", files={"memory.max": str(8 * GIB)}, free=3 * GIB)
    assert usable_memory(root) == 3 * GIB


def test_this_machine_has_some_of_both() -> None:
    """The kernel that runs this is understood."""
    assert 1 <= usable_cores() <= 64
    assert 0 < usable_memory() < 1 << 50


def test_a_real_group_is_read_as_the_kernel_shows_it() -> None:
    """A process in groups of its own has the core and the memory that the kernel leaves it."""
    limits = {"cpu": ("cpu.cfs_quota_us", "100000"), "memory": ("memory.limit_in_bytes", str(GIB))}
    mounts = parse_mounts(MOUNTINFO.read_text()) if MOUNTINFO.exists() else []
    points = {name: mount.point for mount in mounts for name in mount.controllers & limits.keys()}
    if points.keys() != limits.keys():
        pytest.skip("no control groups of version 1 here")
    groups = {name: Path(point, f"babelclip-test-{os.getpid()}") for name, point in points.items()}
    with contextlib.ExitStack() as made:
        try:
            for name, group in groups.items():
                group.mkdir()
                made.callback(group.rmdir)
                (group / limits[name][0]).write_text(limits[name][1])
        except OSError:
            pytest.skip("no control group may be made here")
        join = "".join(f"echo $$ > '{group}/cgroup.procs' && " for group in groups.values())
        count = "from handlers.runtime.machine import *; print(usable_cores(), usable_memory())"
        command = ["sh", "-c", join + 'exec "$0" -c "$1"', sys.executable, count]
        done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    cores, memory = map(int, done.stdout.split())
    assert cores == 1
    assert GIB // 2 < memory <= GIB


LINES = st.text(st.sampled_from("0123456789 -:/,.\\abmx\n\x00") | st.characters(), max_size=200)


@given(LINES)
def test_no_text_breaks_the_parsers(text: str) -> None:
    """Whatever a kernel writes, reading it ends with names and values."""
    assert all(path.startswith("/") for path in parse_memberships(text).values())
    assert all(number >= 0 for number in parse_numbers(text).values())
    parse_mounts(text)
    parse_mounts(f"1 2 3 {text} {text} - cgroup2 cgroup2 {text}")


@settings(max_examples=40)
@given(memberships=LINES, top=LINES, number=LINES)
def test_no_file_keeps_from_counting(
    tmp_path_factory: pytest.TempPathFactory, memberships: str, top: str, number: str
) -> None:
    """With any content of the files, there is at least one core, and memory is no negative number."""
    root = tmp_path_factory.mktemp("machine")
    line = f"30 23 0:26 /{top} /sys/fs/cgroup rw - cgroup2 cgroup2 rw"
    files = {"cpu.max": number, "memory.max": number, "memory.current": number, "memory.stat": number}
    for folder in ("proc/self", "sys/fs/cgroup"):
        (root / folder).mkdir(parents=True)
    (root / "proc/self/mountinfo").write_text(line, encoding="utf-8", errors="replace")
    (root / "proc/self/cgroup").write_text(f"0::/{memberships}", encoding="utf-8", errors="replace")
    for name, text in files.items():
        (root / "sys/fs/cgroup" / name).write_text(text, encoding="utf-8", errors="replace")
    assert 1 <= usable_cores(root) <= 64
    assert usable_memory(root) >= 0

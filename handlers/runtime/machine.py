"""What this process may use of its machine: cores and memory, within the limits of its container.

A container's limits are those of its control groups, of version 2, of version 1, or of one for some resources
and the other for the rest. A group is also limited by the groups that contain it, so all of them that can be
seen are read, and the smallest limit counts. What cannot be read limits nothing.

Nothing is probed at import. `root` is the folder that stands for /, another one only in tests.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

_ROOT = Path("/")
_VERSION_2 = ""
"""In place of a controller's name: version 2 has one tree for all of them."""


def usable_cores(root: Path = _ROOT) -> int:
    """How many cores this process may keep busy, at least 1; a quota of one and a half counts as 2."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for group in _groups(root, "cpu"):
        quota = _cpu_quota(group)
        if quota is not None:
            cores = min(cores, quota)
    return max(1, cores)


def usable_memory(root: Path = _ROOT) -> int:
    """How many bytes may still be allocated before the machine swaps or ends a process.

    The kernel's cache of files counts as free, because the kernel gives it up.
    """
    free = _available(root)
    for group in _groups(root, "memory"):
        room = _room(group)
        if room is not None:
            free = min(free, room)
    return max(0, free)


def parse_memberships(text: str) -> dict[str, str]:
    """/proc/self/cgroup → the path of this process's group by controller; version 2's stands at ""."""
    found = {}
    for line in text.splitlines():
        _, separator, rest = line.partition(":")
        controllers, another, path = rest.partition(":")
        if separator and another and path.startswith("/"):
            found.update(dict.fromkeys(controllers.split(","), path))
    return found


@dataclass(frozen=True)
class Mount:
    """A place where groups can be read."""

    point: str
    top: str
    """The path of the group that `point` shows."""
    controllers: frozenset[str]


def parse_mounts(text: str) -> list[Mount]:
    """/proc/self/mountinfo → where control groups are mounted."""
    found = []
    for line in text.splitlines():
        before, _, after = line.partition(" - ")
        place, kind = before.split(), after.split()
        if len(place) < 5 or len(kind) < 3 or kind[0] not in ("cgroup", "cgroup2"):
            continue
        names = kind[2].split(",") if kind[0] == "cgroup" else [_VERSION_2]
        found.append(Mount(_unescaped(place[4]), _unescaped(place[3]), frozenset(names)))
    return found


def _unescaped(path: str) -> str:
    """A space in a path is written as \\040."""
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), path)


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """The folders of the groups that limit this process, its own first, wherever the controller may be."""
    own = parse_memberships(_read(root / "proc/self/cgroup") or "")
    for mount in parse_mounts(_read(root / "proc/self/mountinfo") or ""):
        for name in mount.controllers & {controller, _VERSION_2} & own.keys():
            point = root / mount.point.lstrip("/")
            inner = _below(own[name], mount.top)
            for depth in range(len(inner), -1, -1):
                yield point.joinpath(*inner[:depth])


def _below(path: str, top: str) -> list[str]:
    """The folders from what is mounted to the process's group; none where the container's own is mounted."""
    parts, upper = path.strip("/").split("/"), top.strip("/").split("/")
    upper = [part for part in upper if part]
    inside = parts[: len(upper)] == upper and ".." not in parts
    return [part for part in parts[len(upper) :] if part] if inside else []


def _cpu_quota(group: Path) -> int | None:
    """Cores, rounded up; None for as many as there are."""
    quota, _, period = (_read(group / "cpu.max") or "").strip().partition(" ")
    if not quota:
        quota = _read(group / "cpu.cfs_quota_us") or ""
        period = _read(group / "cpu.cfs_period_us") or ""
    share, whole = _number(quota), _number(period)
    return -(-share // whole) if share and whole else None


def _room(group: Path) -> int | None:
    """Bytes between the group's limit and what it uses apart from the cache; None without a limit."""
    stat = parse_numbers(_read(group / "memory.stat") or "")
    # From memory.high on a group is slowed down until it hardly moves.
    limits = [_number(_read(group / name) or "") for name in ("memory.max", "memory.high")]
    # Version 1, in which what its files name is of the group alone, and what begins with total_ of all in it.
    limits += [_number(_read(group / "memory.limit_in_bytes") or ""), stat.get("hierarchical_memory_limit")]
    known = [limit for limit in limits if limit is not None]
    if not known:
        return None
    used = _number(_read(group / "memory.current") or _read(group / "memory.usage_in_bytes") or "") or 0
    files = sum(stat.get(f"total_{name}", stat.get(name, 0)) for name in ("active_file", "inactive_file"))
    return min(known) - max(0, used - files)


def _available(root: Path) -> int:
    """Bytes that the machine has available, limits apart."""
    meminfo = parse_numbers((_read(root / "proc/meminfo") or "").replace(":", " "))
    if "MemAvailable" in meminfo:
        return meminfo["MemAvailable"] * 1024
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def parse_numbers(text: str) -> dict[str, int]:
    """Lines of a name and a number → the numbers; others are left out."""
    lines = (line.split() for line in text.splitlines())
    numbers = ((line[0], _number(line[1])) for line in lines if len(line) > 1)
    return {name: number for name, number in numbers if number is not None}


def _number(text: str) -> int | None:
    """Digits → the number; None for `max` and version 1's -1, which mean no limit, and for no number."""
    digits = text.strip()
    return int(digits) if digits.isascii() and digits.isdecimal() and len(digits) < 32 else None


def _read(path: Path) -> str | None:
    with contextlib.suppress(OSError, ValueError):
        return path.read_text(encoding="utf-8", errors="replace")
    return None

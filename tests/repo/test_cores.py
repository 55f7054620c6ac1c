"""One place counts the cores: elsewhere a container's limits would be forgotten."""

import re

from tests.places import REPOSITORY

FOLDERS = ("benchmarks", "clients", "export", "handlers", "scripts", "training")
# What counts all cores of the machine, or takes as many threads or processes as it has.
COUNTS = re.compile(r"cpu_count|sched_getaffinity|PoolExecutor\(\)|\bPool\(\)")


def test_nothing_else_counts_cores() -> None:
    """Whoever needs the number of cores asks handlers.runtime.machine, which knows the container's quota."""
    found = [
        path.relative_to(REPOSITORY).as_posix()
        for folder in FOLDERS
        for path in sorted((REPOSITORY / folder).rglob("*.py"))
        if COUNTS.search(path.read_text(encoding="utf-8"))
    ]
    assert found == ["handlers/runtime/machine.py"]

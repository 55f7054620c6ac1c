"""Letting go of mapped files: less memory, the same content."""

import mmap
import sys
from pathlib import Path

import pytest

from handlers.runtime import mapped

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="madvise drops pages on Linux only")
SIZE = 1 << 20


def resident(path: Path) -> int:
    """Bytes of a file's mappings that are in memory."""
    total, ours = 0, False
    for line in Path("/proc/self/smaps").read_text().splitlines():
        if "-" in line.split()[0]:
            ours = line.endswith(str(path))
        elif ours and line.startswith("Rss:"):
            total += int(line.split()[1]) * 1024
    return total


def test_pages_go_and_come_back(tmp_path: Path) -> None:
    """Protects a worker's memory from weights that it has packed, and what it still reads from being lost."""
    path, other = tmp_path / "folder" / "program.data", tmp_path / "other.data"
    path.parent.mkdir()
    for file in (path, other):
        file.write_bytes(b"weights " * (SIZE // 8))
    with path.open("rb") as ours, other.open("rb") as foreign:
        maps = [mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) for file in (ours, foreign)]
        assert [one[:] for one in maps] == [path.read_bytes()] * 2
        assert resident(path) == resident(other) == SIZE
        mapped.release_pages(path.parent)
        assert resident(path) == 0
        assert resident(other) == SIZE, "a file outside of the folder"
        assert maps[0][:] == path.read_bytes()
        for one in maps:
            one.close()


def test_what_was_written_into_a_mapping_stays(tmp_path: Path) -> None:
    """Protects weights that a runtime changes in a private mapping: to drop its pages would undo that."""
    path = tmp_path / "program.data"
    path.write_bytes(bytes(SIZE))
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_COPY) as private:
        private[:5] = b"ready"
        mapped.release_pages(tmp_path)
        assert private[:5] == b"ready"

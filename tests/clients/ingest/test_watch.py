"""An index that follows a folder."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Queue

import pytest

from babelclip import Client
from babelclip.index import Settings, create_index
from babelclip.ingest.add import AddReport, add
from babelclip.ingest.sources.folder import FolderSource
from babelclip.ingest.watch import follow
from babelclip.testing import InMemoryTransport
from tests.clients.ingest.pictures import fill

PATIENCE = 300.0


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fill(tmp_path / "photographs", 3)
    return tmp_path / "photographs"


def test_what_changes_is_followed(folder: Path, tmp_path: Path) -> None:
    """What is in the folder is added first, then what comes and goes; and it ends when it is told to."""
    reports: Queue[AddReport] = Queue()
    stop = threading.Event()
    source = FolderSource(folder)
    with create_index(tmp_path / "index", Settings(space="in-memory", dim=32)) as index:
        client = Client("", transport=InMemoryTransport())

        def watch() -> None:
            for report in follow(source, lambda: add(index, client, source), stop=stop):
                reports.put(report)

        thread = threading.Thread(target=watch)
        thread.start()
        try:
            assert reports.get(timeout=PATIENCE).embedded == 3
            (new,) = fill(folder, 1, first=20)
            embedded = 0
            while index.count() < 4 or not embedded:
                embedded += reports.get(timeout=PATIENCE).embedded
            # A file that was listed while it was being written is embedded again when it is whole.
            new.unlink()
            dropped = 0
            while not dropped:
                dropped += reports.get(timeout=PATIENCE).dropped
            assert index.count() == 3
        finally:
            stop.set()
            thread.join(PATIENCE)
        assert not thread.is_alive()


def test_a_round_that_fails_is_tried_again(folder: Path) -> None:
    """A folder that is gone for now is told of once a round, and followed on when it is back."""
    rounds: Iterator[OSError | AddReport] = iter([OSError("the drive is not there"), AddReport(embedded=1)])
    said: list[str] = []
    stop = threading.Event()

    def run() -> AddReport:
        outcome = next(rounds)
        if isinstance(outcome, OSError):
            raise outcome
        return outcome

    reports = follow(FolderSource(folder), run, every=0.0, stop=stop, say=said.append)
    assert next(reports).embedded == 1
    assert said == ["the drive is not there; trying again"]
    stop.set()
    assert list(reports) == []


def test_only_a_folder_can_be_followed(tmp_path: Path) -> None:
    """Without a folder there is nothing to follow, and that is said at once."""
    with pytest.raises(NotADirectoryError, match="no folder"):
        next(follow(FolderSource(tmp_path / "nowhere"), AddReport))

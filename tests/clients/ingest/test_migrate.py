"""An index moves to another model while it is searched."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from queue import Queue

import numpy as np
import pytest

from babelclip import Client, SpaceMismatch
from babelclip.index import Index, IndexBusy, Settings, create_index, open_index
from babelclip.ingest.add import add
from babelclip.ingest.images import describe_image
from babelclip.ingest.locks import migrating
from babelclip.ingest.migrate import MigrationIncomplete, migrate
from babelclip.ingest.sources.folder import FolderSource
from tests.clients.index.engines import MILVUS, new_address
from tests.clients.ingest.counting import Counting
from tests.clients.ingest.pictures import fill
from tests.places import REPOSITORY

IMAGES = 24
DIMS = {"1.0": 32, "2.0": 48}
PATIENCE = 600.0


def server_of(version: str) -> Counting:
    """A server of one of the two versions, whose spaces differ."""
    return Counting(space=f"space-{version}", version=version, dim=DIMS[version])


class Models:
    """Both versions; to the new one a thumbnail looks as its image does."""

    def __init__(self, folder: Path) -> None:
        self.servers = {version: server_of(version) for version in DIMS}
        self.clients = {version: Client("", transport=server) for version, server in self.servers.items()}
        for path in folder.rglob("*.jpg"):
            data = path.read_bytes()
            new = self.servers["2.0"]
            new.vectors[describe_image(data).thumbnail] = new.vector(data)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    fill(tmp_path / "photographs", IMAGES)
    return tmp_path / "photographs"


@pytest.fixture
def models(folder: Path) -> Models:
    return Models(folder)


@pytest.fixture
def index(request: pytest.FixtureRequest, tmp_path: Path, folder: Path, models: Models) -> Iterator[Index]:
    """All images, by version 1.0."""
    address = new_address(request, getattr(request, "param", "lancedb"), tmp_path)
    with create_index(address, Settings(space="space-1.0", dim=32, version="1.0")) as index:
        add(index, models.clients["1.0"], FolderSource(folder))
        models.servers["1.0"].images()
        yield index


def test_all_is_embedded_again(index: Index, models: Models, folder: Path) -> None:
    """The index is of the new space afterwards, with the same rows, and the old generation is dropped."""
    before = {row.id: row for rows in index.scan() for row in rows}
    report = migrate(index, models.clients["2.0"], drop_after=0)
    assert (report.total, report.embedded, report.failed) == (IMAGES, IMAGES, 0)
    assert report.proof is not None
    assert (report.proof.rows, report.proof.queries, report.proof.recall) == (IMAGES, IMAGES, 1.0)
    assert report.proof.agreement is not None
    assert (index.settings.space, index.settings.version, index.settings.dim) == ("space-2.0", "2.0", 48)
    assert list(index.generations()) == [report.generation]
    after = {row.id: row for rows in index.scan() for row in rows}
    assert {id_: vars(row) for id_, row in after.items()} == {id_: vars(row) for id_, row in before.items()}
    for rows in index.scan(columns=("source", "vector")):
        for row in rows:
            assert row.vector is not None
            expected = models.servers["2.0"].vector(Path(row.source).read_bytes())
            np.testing.assert_allclose(row.vector, expected, atol=1e-6)
    assert add(index, models.clients["2.0"], FolderSource(folder)).unchanged == IMAGES
    with pytest.raises(ValueError, match=r"is of the space space-2\.0 already"):
        migrate(index, models.clients["2.0"])


def test_missing_images_stop_it(index: Index, models: Models, folder: Path) -> None:
    """A row whose image is gone stops the promotion and is named; it may be allowed, and keeps its row."""
    (folder / "0" / "00000.jpg").unlink()
    with pytest.raises(MigrationIncomplete, match=r"1 rows .*00000\.jpg: unreadable_file") as caught:
        migrate(index, models.clients["2.0"], drop_after=0)
    assert index.settings.space == "space-1.0"
    report = caught.value.report
    assert report.proof is not None
    assert [Path(skip.path).name for skip in report.proof.missing] == ["00000.jpg"]
    assert len(models.servers["2.0"].images()) > 0

    report = migrate(index, models.clients["2.0"], drop_after=0, allow_missing=True)
    assert report.embedded == 0  # The generation was whole but for that row.
    assert (index.info().rows, index.info().failed) == (IMAGES - 1, 1)


def test_a_model_that_finds_nothing_is_not_made_current(index: Index, models: Models) -> None:
    """Where golden queries do not find their rows, the vectors are no good and the old ones stay."""
    models.servers["2.0"].vectors.clear()
    with pytest.raises(MigrationIncomplete, match="golden queries find their rows"):
        migrate(index, models.clients["2.0"], min_recall=1.0)
    assert index.settings.space == "space-1.0"


def test_what_is_added_meanwhile_comes_along(index: Index, models: Models, folder: Path) -> None:
    """Rows that are added to and dropped from the old generation during a migration are so in the new one."""
    changed = threading.Event()

    def change(_: object) -> None:
        if not changed.is_set():
            changed.set()
            fill(folder, 2, first=100)
            (folder / "1" / "00001.jpg").unlink()
            add(index, models.clients["1.0"], FolderSource(folder))

    report = migrate(index, models.clients["2.0"], batch_size=4, min_recall=0, drop_after=0, progress=change)
    assert report.total == IMAGES + 1
    names = {Path(row.source).name for rows in index.scan() for row in rows}
    assert {"00100.jpg", "00101.jpg"} <= names
    assert "00001.jpg" not in names


def test_one_migration_at_a_time(index: Index, models: Models) -> None:
    """A second migration is refused while one is under way."""
    with migrating(index.info().address), pytest.raises(IndexBusy, match="another process migrates"):
        migrate(index, models.clients["2.0"])


CHILD = """
import sys
from babelclip import Client
from babelclip.index import open_index
from babelclip.ingest.migrate import migrate
from tests.clients.ingest.test_migrate import server_of

def stop(report):
    if report.done >= 16:
        print(report.done, flush=True)
        sys.stdin.read()  # Until it is killed.

with open_index(sys.argv[1]) as index:
    migrate(index, Client("", transport=server_of("2.0")), batch_size=4, commit=4, progress=stop)
"""
SEARCHER = """
import sys, threading
from babelclip.index import open_index
from tests.clients.ingest.test_migrate import Searcher

stop = threading.Event()
threading.Thread(target=lambda: (sys.stdin.read(), stop.set()), daemon=True).start()
searcher = Searcher(open_index(sys.argv[1]))
while not stop.is_set():
    space = searcher.ask()
    print(space, flush=True)
"""


def child(script: str, address: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", script, address],
        env={**os.environ, "PYTHONPATH": f"{REPOSITORY / 'clients'}{os.pathsep}{REPOSITORY}"},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


@pytest.mark.slow
def test_a_migration_that_is_killed_goes_on(index: Index, models: Models, tmp_path: Path) -> None:
    """After kill -9 the next run embeds only what was not committed, and searches never noticed."""
    killed = child(CHILD, str(tmp_path / "index"))
    assert killed.stdout is not None
    assert killed.stdout.readline()
    killed.kill()
    killed.communicate()
    assert index.settings.space == "space-1.0"
    (name,) = index.generations().keys() - {index.info().generation}
    committed = open_index(tmp_path / "index", generation=name).count()
    assert 16 <= committed < IMAGES
    report = migrate(index, models.clients["2.0"], drop_after=0)
    assert report.embedded == IMAGES - committed
    assert index.count() == IMAGES


class Searcher:
    """Asks an index as a service does: embedded by the version that the index names, again if it changed."""

    def __init__(self, index: Index) -> None:
        self.index = index
        self.servers = {version: server_of(version) for version in DIMS}
        self.clients = {version: Client("", transport=server) for version, server in self.servers.items()}

    def ask(self) -> str:
        """One search; every cosine must be of the one space → that space."""
        while True:
            version = self.index.settings.version
            query = self.clients[version].embed_texts(["a query"])
            try:
                (hits,) = self.index.search(query, top=8, columns=("source",))
            except SpaceMismatch:
                continue
            server = self.servers[version]
            assert len(hits) == 8
            for hit in hits:
                expected = query.vectors[0] @ server.vector(Path(hit.row.source).read_bytes())
                assert abs(hit.cosine - expected) < 1e-4
            return query.space


@pytest.mark.slow
@pytest.mark.parametrize("index", ["lancedb", MILVUS], indirect=True)
def test_searches_go_on_meanwhile(index: Index, models: Models) -> None:
    """Under a steady load of threads and another process no search fails, and each is wholly of one space."""
    stop = threading.Event()
    failures: Queue[BaseException] = Queue()
    seen: list[list[str]] = [[] for _ in range(3)]

    def load(spaces: list[str]) -> None:
        try:
            searcher = Searcher(index)
            while not stop.is_set():
                spaces.append(searcher.ask())
        except BaseException as error:
            failures.put(error)

    process = child(SEARCHER, index.info().address)
    assert process.stdout is not None
    threads = [threading.Thread(target=load, args=(spaces,)) for spaces in seen]
    try:
        for thread in threads:
            thread.start()
        assert process.stdout.readline() == "space-1.0\n"
        migrate(index, models.clients["2.0"], batch_size=4, commit=4, drop_after=None)
        while process.stdout.readline() != "space-2.0\n":
            assert process.poll() is None
        # The old generation goes when nobody asks it any more.
        counts = [len(spaces) for spaces in seen]
        while any(len(spaces) < count + 2 for spaces, count in zip(seen, counts, strict=True)):
            assert failures.empty()
            stop.wait(0.05)
        (old,) = index.generations().keys() - {index.info().generation}
        index.drop_generation(old)
        for _ in range(3):
            assert process.stdout.readline() == "space-2.0\n"
    finally:
        stop.set()
        for thread in threads:
            thread.join(PATIENCE)
        rest, _ = process.communicate("", timeout=PATIENCE)
    assert failures.empty(), failures.get()
    assert process.returncode == 0
    assert set(rest.split()) <= {"space-2.0"}
    for spaces in seen:
        assert set(spaces) == {"space-1.0", "space-2.0"}
        assert spaces == sorted(spaces)

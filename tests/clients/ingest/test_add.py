"""Adding what is new, dropping what is gone, and going on after an interruption."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from babelclip import Client, SpaceMismatch, Unavailable
from babelclip.index import DETAILS, Index, IndexBusy, Row, Settings, create_index, open_index
from babelclip.ingest.add import NothingListed, add
from babelclip.ingest.locks import adding, alone
from babelclip.ingest.sources.folder import FolderSource
from tests.clients.ingest.counting import Counting
from tests.clients.ingest.pictures import encoded, fill, picture
from tests.places import REPOSITORY

SETTINGS = Settings(space="in-memory", dim=32, version="1.0")


@pytest.fixture
def server() -> Counting:
    return Counting()


@pytest.fixture
def client(server: Counting) -> Client:
    client = Client("", transport=server)
    client.health()
    server.images()
    return client


@pytest.fixture
def index(tmp_path: Path) -> Iterator[Index]:
    with create_index(tmp_path / "index", SETTINGS) as index:
        yield index


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Twelve images and a file that is none."""
    folder = tmp_path / "photographs"
    fill(folder, 12)
    (folder / "broken.jpg").write_bytes(b"broken")
    return folder


def rows_of(index: Index) -> dict[str, Row]:
    """All rows with all that they hold, by the end of their source."""
    columns = (*DETAILS, "vector", "thumbnail")
    return {Path(row.source).name: row for rows in index.scan(columns=columns) for row in rows}


def assert_same(one: dict[str, Row], other: dict[str, Row]) -> None:
    """Both indexes have the same rows, with all their columns."""
    assert one.keys() == other.keys()
    for name, row in one.items():
        assert (row.vector is None) == (other[name].vector is None)
        if row.vector is not None:
            np.testing.assert_array_equal(row.vector, other[name].vector)
        assert vars(replace(row, vector=None)) == vars(replace(other[name], vector=None))


def test_a_folder_becomes_rows(index: Index, client: Client, server: Counting, photographs: Path) -> None:
    """Each image is a row with its vector and its details, and what is no image is one with its error."""
    server.failing[b"broken"] = ("image_undecodable", "no image")
    report = add(index, client, FolderSource(photographs), batch_size=5)
    assert (report.total, report.listed, report.embedded, report.failed) == (13, 13, 12, 1)
    rows = rows_of(index)
    path = photographs / "1" / "00001.jpg"
    row = rows[path.name]
    assert (row.source, row.collection) == (str(path), str(photographs))
    assert (row.width, row.height, row.size) == (64, 48, path.stat().st_size)
    assert row.vector is not None
    np.testing.assert_allclose(row.vector, server.vector(path.read_bytes()), atol=1e-6)
    assert row.thumbnail.startswith(b"\xff\xd8")
    assert len(row.perceptual_hash) == 16
    broken = rows["broken.jpg"]
    assert (broken.vector, broken.error_code) == (None, "image_undecodable")
    assert (index.info().rows, index.info().failed) == (12, 1)


def test_only_what_is_new_or_changed_is_embedded(
    index: Index, client: Client, server: Counting, photographs: Path
) -> None:
    """A second run embeds nothing; one more photograph costs one embedding, and so does a changed one."""
    server.failing[b"broken"] = ("image_undecodable", "no image")
    add(index, client, FolderSource(photographs))
    server.images()
    report = add(index, client, FolderSource(photographs))
    assert server.images() == []
    assert (report.unchanged, report.embedded, report.failed) == (13, 0, 0)

    (new,) = fill(photographs, 1, first=50)
    assert add(index, client, FolderSource(photographs)).embedded == 1
    assert server.images() == [new.read_bytes()]

    new.write_bytes(encoded(picture(99)))
    report = add(index, client, FolderSource(photographs))
    assert (report.embedded, report.unchanged) == (1, 13)
    assert server.images() == [new.read_bytes()]
    assert index.count() == 14


def test_a_file_that_was_only_touched(
    index: Index, client: Client, server: Counting, photographs: Path
) -> None:
    """A file with another time and the same bytes keeps its vector, and the next run knows its new time."""
    add(index, client, FolderSource(photographs))
    before, _ = rows_of(index), server.images()
    touched = photographs / "0" / "00000.jpg"
    os.utime(touched, ns=(1, 1))
    report = add(index, client, FolderSource(photographs))
    assert (report.updated, report.embedded) == (1, 0)
    assert server.images() == []
    after = rows_of(index)
    assert after[touched.name].fingerprint.endswith("-1")
    np.testing.assert_array_equal(after[touched.name].vector, before[touched.name].vector)
    assert add(index, client, FolderSource(photographs)).unchanged == 13


def test_what_is_gone_is_dropped(index: Index, client: Client, photographs: Path, tmp_path: Path) -> None:
    """Rows of images that are gone go too, and those of other collections, kinds and unseen folders stay."""
    other = tmp_path / "other"
    fill(other, 2, first=70)
    add(index, client, FolderSource(photographs))
    add(index, client, FolderSource(other))
    moment = Row(
        id="moment", source="a.mp4", collection=str(photographs), kind="moment", error_code="x", begin=1.0
    )
    index.upsert([moment], space="in-memory")
    shutil.rmtree(photographs / "0")
    shutil.rmtree(photographs / "1")
    source = FolderSource(photographs)
    hidden = source.could_list
    source.could_list = lambda source: "/1/" not in source and hidden(source)  # type: ignore[method-assign]
    assert add(index, client, source).dropped == 4
    left = rows_of(index)
    assert {"00070.jpg", "00071.jpg", "a.mp4", "00001.jpg", "00002.jpg"} <= left.keys()
    assert not {"00000.jpg", "00003.jpg"} & left.keys()


@pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may list every folder")
def test_a_folder_that_cannot_be_listed(index: Index, client: Client, photographs: Path) -> None:
    """What lies where this run could not look is not taken to be gone, and the folder is reported."""
    add(index, client, FolderSource(photographs))
    closed = photographs / "1"
    closed.chmod(0)
    try:
        report = add(index, client, FolderSource(photographs))
    finally:
        closed.chmod(0o755)
    assert (report.dropped, [skip.path for skip in report.skipped]) == (0, [str(closed)])
    assert index.count() == 13


def test_a_source_could_be_listed_unless_its_folder_was_skipped(tmp_path: Path) -> None:
    """A folder that was skipped hides what is below it, and not a neighbour whose name begins alike."""
    from babelclip.search.folder import Skipped

    source = FolderSource(tmp_path)
    source._skipped = [Skipped(str(tmp_path / "a"), "unreadable_folder", "no")]
    assert not source.could_list(str(tmp_path / "a" / "1.jpg"))
    assert source.could_list(str(tmp_path / "ab" / "1.jpg"))


def test_an_empty_folder_drops_nothing_unasked(index: Index, client: Client, photographs: Path) -> None:
    """A disk that is not mounted looks like an empty folder, and must not empty the index."""
    add(index, client, FolderSource(photographs))
    shutil.rmtree(photographs)
    photographs.mkdir()
    with pytest.raises(NothingListed, match="13 rows: is it mounted"):
        add(index, client, FolderSource(photographs))
    assert index.count() == 13
    assert add(index, client, FolderSource(photographs), allow_empty=True).dropped == 13
    assert index.count() == 0


def test_failures_are_tried_again_where_that_may_help(
    index: Index, client: Client, server: Counting, photographs: Path
) -> None:
    """An item that the server had no time for is tried again by every run, one that is broken is not."""
    busy = photographs / "0" / "00000.jpg"
    server.failing.update({b"broken": ("image_undecodable", "no"), busy.read_bytes(): ("overloaded", "busy")})
    assert add(index, client, FolderSource(photographs)).failed == 2
    server.images()
    del server.failing[busy.read_bytes()]
    report = add(index, client, FolderSource(photographs))
    assert (report.embedded, report.failed, report.unchanged) == (1, 0, 12)
    assert server.images() == [busy.read_bytes()]
    assert rows_of(index)[busy.name].error_code == ""


def test_an_unreadable_file_is_a_row(index: Index, client: Client, photographs: Path) -> None:
    """A file that cannot be read is a row with its code, and is read again by the next run."""
    (photographs / "gone.jpg").symlink_to(photographs / "nowhere.jpg")
    assert add(index, client, FolderSource(photographs)).failed == 1
    assert rows_of(index)["gone.jpg"].error_code == "unreadable_file"
    (photographs / "nowhere.jpg").write_bytes(encoded(picture(5)))
    assert add(index, client, FolderSource(photographs)).failed == 0


def test_a_name_that_is_no_text(index: Index, client: Client, tmp_path: Path) -> None:
    """A file whose name is of bytes that are no UTF-8 is added like any other."""
    folder = tmp_path / "odd"
    folder.mkdir()
    with open(os.path.join(os.fsencode(folder), b"caf\xe9.jpg"), "wb") as file:
        file.write(encoded(picture()))
    assert add(index, client, FolderSource(folder)).embedded == 1
    assert list(rows_of(index)) == ["caf\\xe9.jpg"]
    assert add(index, client, FolderSource(folder)).unchanged == 1


def test_two_collections_may_overlap(
    index: Index, client: Client, server: Counting, photographs: Path
) -> None:
    """An image that a collection has already is not embedded for another one, nor taken from it."""
    add(index, client, FolderSource(photographs))
    server.images()
    below = FolderSource(photographs / "1")
    report = add(index, client, below)
    assert (report.unchanged, report.embedded, server.images()) == (4, 0, [])
    assert add(index, client, FolderSource(photographs)).dropped == 0
    assert index.count() == 13


def test_a_server_that_goes_away(index: Index, client: Client, server: Counting, photographs: Path) -> None:
    """When the server is gone the run ends with that error, and what was answered before is committed."""

    def lose(report: object) -> None:
        server.lost = True

    with pytest.raises(Unavailable):
        add(index, client, FolderSource(photographs), batch_size=2, threads=1, progress=lose)
    kept = index.count()
    assert 0 < kept < 13
    server.lost = False
    server.images()
    assert add(index, client, FolderSource(photographs)).unchanged == kept
    assert len(server.images()) == 13 - kept


def test_one_writer_of_a_collection(index: Index, client: Client, photographs: Path, tmp_path: Path) -> None:
    """Two runs never add the same collection at once, other collections may be added meanwhile."""
    address = str(tmp_path / "index")
    with adding(address, str(photographs)):
        with pytest.raises(IndexBusy, match="another process adds the collection"):
            add(index, client, FolderSource(photographs))
        assert add(index, client, FolderSource(photographs, name="another")).embedded == 13
        with pytest.raises(IndexBusy), alone(address):
            pass
    with alone(address), pytest.raises(IndexBusy, match="migration"):
        add(index, client, FolderSource(photographs))
    assert add(index, client, FolderSource(photographs)).unchanged == 13


def test_another_model_is_refused(index: Index, photographs: Path) -> None:
    """A client of another space adds nothing, and is told which version the index is of."""
    other = Client("", transport=Counting(space="another"))
    with pytest.raises(SpaceMismatch, match=r"version 1\.0"):
        add(index, other, FolderSource(photographs))
    assert index.count() == 0


CHILD = """
import sys
from babelclip import Client
from babelclip.index import open_index
from babelclip.ingest.add import add
from babelclip.ingest.sources.folder import FolderSource
from babelclip.testing import InMemoryTransport
from pathlib import Path

def stop(report):
    if report.done >= int(sys.argv[3]):
        print(report.done, flush=True)
        sys.stdin.read()  # Until it is killed.

with open_index(sys.argv[1]) as index:
    source = FolderSource(Path(sys.argv[2]))
    add(index, Client("", transport=InMemoryTransport()), source, batch_size=4, commit=4, progress=stop)
"""


@pytest.mark.slow
def test_kill_at_nine_tenths(client: Client, server: Counting, tmp_path: Path) -> None:
    """After kill -9 at 90 % the next run embeds the rest alone, and no row tells of the interruption."""
    folder = tmp_path / "many"
    fill(folder, 120)
    addresses = [str(tmp_path / "killed"), str(tmp_path / "whole")]
    killed, whole = (create_index(address, SETTINGS) for address in addresses)
    child = subprocess.Popen(
        [sys.executable, "-c", CHILD, addresses[0], str(folder), "108"],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY / "clients")},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert child.stdout is not None
    done = int(child.stdout.readline())
    child.kill()
    child.communicate()
    committed = open_index(addresses[0]).count()
    assert 108 <= done <= committed + 4 < 120

    report = add(killed, client, FolderSource(folder))
    assert report.embedded == len(server.images()) == 120 - committed
    assert report.embedded <= 0.12 * 120
    add(whole, client, FolderSource(folder))
    assert_same(rows_of(killed), rows_of(whole))

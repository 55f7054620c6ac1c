"""A folder that is embedded in several runs: nothing is done twice, and nothing is kept that is not true."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from babelclip import Client, Collection, MultiLingualSearch, Unavailable, generate_embeddings
from babelclip.embedding_pb2 import EmbedRequest
from babelclip.search.collection import read_collection
from babelclip.search.progress import open_progress
from babelclip.testing import InMemoryTransport
from babelclip.transports.base import Call
from tests.places import REPOSITORY


class Counting(InMemoryTransport):
    """Remembers the images that it embeds; from the `lost`-th one on, nobody answers."""

    def __init__(self, space: str = "one", lost: int | None = None) -> None:
        super().__init__(space=space)
        self.images: list[bytes] = []
        self.lost = lost

    def send(self, call: Call) -> bytes:
        images = EmbedRequest.FromString(call.body).images
        if self.lost is not None and len(self.images) + len(images) > self.lost:
            raise Unavailable("nobody answers", retryable=False)
        self.images += images
        return super().send(call)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Forty images, each of other bytes."""
    folder = tmp_path / "photographs"
    (folder / "deep").mkdir(parents=True)
    for number in range(40):
        (folder / ("deep" if number % 2 else ".") / f"{number:02}.jpg").write_bytes(b"image %d" % number)
    return folder


def embed(transport: Counting, folder: Path, output: Path, **options: Any) -> Collection:
    with Client("unused", transport=transport) as client:
        return generate_embeddings(client, folder, output, batch_size=8, **options)


def check(made: Collection, folder: Path, transport: Counting) -> None:
    """Every image of the folder has its own vector, in the result and on the disk."""
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    assert list(made.images) == [str(path) for path in files]
    expected = [transport.vector(path.read_bytes()) for path in files]
    np.testing.assert_array_equal(made.embeddings.vectors, expected)
    assert made.embeddings.space == transport.space


def test_a_run_that_was_broken_off_goes_on(photographs: Path, tmp_path: Path) -> None:
    """A server that stops half-way costs the batch that was under way, and the next run embeds the rest."""
    first = Counting(lost=30)
    with pytest.raises(Unavailable):
        embed(first, photographs, tmp_path / "v")
    assert len(first.images) == 24
    assert not (tmp_path / "v" / "meta.json").exists()
    second = Counting()
    said: list[str] = []
    seen: list[tuple[int, ...]] = []
    made = embed(
        *(second, photographs, tmp_path / "v"), say=said.append, progress=lambda *done: seen.append(done)
    )
    assert len(second.images) == 16
    assert not {*first.images} & {*second.images}
    check(made, photographs, second)
    check(read_collection(tmp_path / "v"), photographs, second)
    assert said == ["24 of 40 images are embedded already, by an earlier run"]
    assert seen == [(32, 40), (40, 40)]


KILLED = """
import os, signal, sys
from babelclip import Client, generate_embeddings
from babelclip.embedding_pb2 import EmbedRequest
from babelclip.testing import InMemoryTransport
from tests.places import REPOSITORY

class Killed(InMemoryTransport):
    images = 0
    def send(self, call):
        self.images += len(EmbedRequest.FromString(call.body).images)
        if self.images > 27:
            os.kill(os.getpid(), signal.SIGKILL)
        return super().send(call)

with Client("unused", transport=Killed(space="one")) as client:
    generate_embeddings(client, sys.argv[1], sys.argv[2], batch_size=8)
"""


def test_a_process_that_is_killed_keeps_what_was_answered(photographs: Path, tmp_path: Path) -> None:
    """kill -9 in the middle of a batch: the batches before it are not embedded again."""
    environment = {"PYTHONPATH": str(REPOSITORY / "clients")}
    command = [sys.executable, "-c", KILLED, str(photographs), str(tmp_path / "v")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    transport = Counting()
    check(embed(transport, photographs, tmp_path / "v"), photographs, transport)
    assert len(transport.images) == 40 - 24


def test_only_what_is_new_or_other_is_embedded(photographs: Path, tmp_path: Path) -> None:
    """One image added embeds one; gone ones are dropped; another size or time is another image."""
    embed(Counting(), photographs, tmp_path / "v")
    (photographs / "new.jpg").write_bytes(b"new")
    transport = Counting()
    check(embed(transport, photographs, tmp_path / "v"), photographs, transport)
    assert transport.images == [b"new"]

    (photographs / "new.jpg").unlink()
    (photographs / "00.jpg").write_bytes(b"another size")
    time = (photographs / "02.jpg").stat().st_mtime_ns
    (photographs / "02.jpg").write_bytes(b"IMAGE 2")
    os.utime(photographs / "02.jpg", ns=(time + 1, time + 1))
    transport = Counting()
    check(embed(transport, photographs, tmp_path / "v"), photographs, transport)
    assert transport.images == [b"another size", b"IMAGE 2"]

    transport = Counting()
    check(embed(transport, photographs, tmp_path / "v"), photographs, transport)
    assert transport.images == []
    with Client("unused", transport=transport) as client:
        assert MultiLingualSearch(client, tmp_path / "v").search("a", top=1)


def test_the_folder_may_be_named_in_another_way(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Asked for by a relative path, or moved, the images are the same; their names follow."""
    embed(Counting(), photographs, tmp_path / "v")
    monkeypatch.chdir(tmp_path)
    photographs.rename(tmp_path / "moved")
    transport = Counting()
    made = embed(transport, Path("moved"), tmp_path / "v")
    check(made, Path("moved"), transport)
    assert transport.images == []


def test_another_space_begins_anew_and_says_so(photographs: Path, tmp_path: Path) -> None:
    """Vectors of two models are never in one file, and the old ones are whole until the new ones are."""
    embed(Counting(), photographs, tmp_path / "v")
    said: list[str] = []
    with pytest.raises(Unavailable):
        embed(Counting(space="two", lost=20), photographs, tmp_path / "v", say=said.append)
    (sentence,) = said
    assert sentence.startswith(
        f"{tmp_path / 'v'} has vectors of the space one, and this model gives two: all"
    )
    assert read_collection(tmp_path / "v").embeddings.space == "one"
    transport = Counting(space="two")
    check(embed(transport, photographs, tmp_path / "v"), photographs, transport)
    assert len(transport.images) == 24
    transport = Counting()
    check(embed(transport, photographs, tmp_path / "v"), photographs, transport)
    assert len(transport.images) == 40


def test_what_failed_is_tried_again(photographs: Path, tmp_path: Path) -> None:
    """An image that had no turn, or whose format the server has learnt since, is done by the next run."""
    first = Counting()
    first.failing[b"image 3"] = ("image_undecodable", "no decoder")
    made = embed(first, photographs, tmp_path / "v")
    assert [(Path(skip.path).name, skip.code) for skip in made.skipped] == [("03.jpg", "image_undecodable")]
    assert len(made.images) == 39
    transport = Counting()
    check(embed(transport, photographs, tmp_path / "v"), photographs, transport)
    assert transport.images == [b"image 3"]


def test_a_changed_image_that_fails_has_no_old_vector(photographs: Path, tmp_path: Path) -> None:
    """The vector of what a file was before is not given out for what it is now."""
    embed(Counting(), photographs, tmp_path / "v")
    (photographs / "00.jpg").write_bytes(b"broken now")
    transport = Counting()
    transport.failing[b"broken now"] = ("image_undecodable", "no image")
    made = embed(transport, photographs, tmp_path / "v")
    assert str(photographs / "00.jpg") not in made.images
    assert len(made.images) == len(made.embeddings) == 39


def test_a_folder_that_cannot_be_read_today_costs_nothing(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that hiccups is named in `skipped`, and what is known of its images is kept for the next run."""
    embed(Counting(), photographs, tmp_path / "v")
    listing = os.scandir

    def refuse(path: Path) -> object:
        if Path(path).name == "deep":
            raise OSError(5, "Input/output error", str(path))
        return listing(path)

    with monkeypatch.context() as patched:
        patched.setattr(os, "scandir", refuse)
        made = embed(Counting(), photographs, tmp_path / "v")
    assert len(made.images) == 20
    assert [skip.code for skip in made.skipped] == ["unreadable_folder"]
    transport = Counting()
    check(embed(transport, photographs, tmp_path / "v"), photographs, transport)
    assert transport.images == []


def test_names_that_are_not_utf8_are_kept(tmp_path: Path) -> None:
    """A name of bytes that are no UTF-8 is embedded once, like any other."""
    (tmp_path / "in").mkdir()
    with open(os.fsencode(tmp_path) + b"/in/\xff.jpg", "wb") as file:
        file.write(b"one")
    for images in ([b"one"], []):
        transport = Counting()
        made = embed(transport, tmp_path / "in", tmp_path / "v")
        assert transport.images == images
        assert read_collection(tmp_path / "v").images == made.images == (str(tmp_path / "in" / "\udcff.jpg"),)


def test_two_runs_do_not_write_to_one_folder(photographs: Path, tmp_path: Path) -> None:
    """The second of two runs is refused at once, with a sentence, and the first goes on."""
    (tmp_path / "v").mkdir()
    with (
        open_progress(tmp_path / "v", pytest.fail),
        pytest.raises(OSError, match=r"progress\.sqlite: another run is writing there"),
    ):
        embed(Counting(), photographs, tmp_path / "v")
    embed(Counting(), photographs, tmp_path / "v")


def _other_format(path: Path) -> None:
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()


@pytest.mark.parametrize("damage", [lambda path: path.write_bytes(b"no database" * 100), _other_format])
def test_a_file_that_is_none_is_made_anew(
    photographs: Path, tmp_path: Path, damage: Callable[[Path], None]
) -> None:
    """A damaged file, or one of a later release, costs time and not the run; a sentence says so."""
    embed(Counting(), photographs, tmp_path / "v")
    damage(tmp_path / "v" / "progress.sqlite")
    said: list[str] = []
    transport = Counting()
    check(embed(transport, photographs, tmp_path / "v", say=said.append), photographs, transport)
    assert len(transport.images) == 40
    assert "is no progress of an earlier run" in said[0]


def test_a_vector_of_another_length_is_found_out(photographs: Path, tmp_path: Path) -> None:
    """A damaged vector is an error that says what to do, not a row of the file."""
    embed(Counting(), photographs, tmp_path / "v")
    with sqlite3.connect(tmp_path / "v" / "progress.sqlite") as connection:
        connection.execute("UPDATE images SET vector = x'00' WHERE path = CAST('02.jpg' AS BLOB)")
    connection.close()
    with pytest.raises(OSError, match=r"progress\.sqlite is damaged: delete it"):
        embed(Counting(), photographs, tmp_path / "v")
    assert len(read_collection(tmp_path / "v").images) == 40


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(place=st.integers(0, 40_000), junk=st.binary(min_size=1, max_size=200), cut=st.integers(0, 40_000))
@example(place=3957, junk=b"\x80", cut=16385)  # in the statement that made a table
def test_any_bytes_in_the_file_end_in_vectors_or_a_sentence(
    tmp_path_factory: pytest.TempPathFactory, place: int, junk: bytes, cut: int
) -> None:
    """Whatever a disk did to the file, the run gives right names and vectors, or an OSError."""
    folder = tmp_path_factory.mktemp("any")
    (folder / "in").mkdir()
    (folder / "in" / "a.jpg").write_bytes(b"a")
    embed(Counting(), folder / "in", folder / "v")
    path = folder / "v" / "progress.sqlite"
    data = path.read_bytes()
    place %= len(data)
    path.write_bytes((data[:place] + junk + data[place + len(junk) :])[: max(cut % len(data), place + 1)])
    try:
        made = embed(Counting(), folder / "in", folder / "v")
    except OSError:
        return
    assert made.images == (str(folder / "in" / "a.jpg"),)
    assert made.embeddings.vectors.shape == (1, 32)

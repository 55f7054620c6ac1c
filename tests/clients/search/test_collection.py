"""A folder of images, embedded once, in files."""

from __future__ import annotations

import errno
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from babelclip import (
    Backoff,
    Call,
    Client,
    DeadlineExceeded,
    MultiLingualSearch,
    Unavailable,
    generate_embeddings,
)
from babelclip.search.collection import read_collection
from tests.clients.fake_server import SPACE, vector_of
from tests.clients.in_memory import InMemory

UNSPLASH = "https://images.unsplash.com/photo-1?w=400"


@pytest.fixture
def server() -> InMemory:
    return InMemory()


@pytest.fixture
def model(server: InMemory) -> Client:
    return Client("", transport=server)


@pytest.fixture
def photographs(tmp_path: Path) -> Path:
    """Five images, one of them broken, one described as Unsplash's are, one beside some other JSON."""
    folder = tmp_path / "photographs"
    (folder / "deep").mkdir(parents=True)
    for name in ("a.jpg", "b.jpg", "c.png", "deep/d.webp"):
        (folder / name).write_bytes(name.encode())
    (folder / "broken.jpg").write_bytes(b"broken")
    (folder / "b.json").write_text(json.dumps({"id": "b", "urls": {"small": UNSPLASH, "raw": "…"}}))
    (folder / "c.json").write_text('["no description"]')
    return folder


def vectors_of(*items: str) -> np.ndarray:
    return np.stack([vector_of(item.encode()) for item in items])


def test_a_folder_becomes_vectors_and_names(model: Client, photographs: Path, tmp_path: Path) -> None:
    """The rows, their names and the broken file are all accounted for, in the result and on the disk."""
    seen: list[tuple[int, int]] = []
    made = generate_embeddings(
        *(model, photographs, tmp_path / "new" / "vectors"),
        batch_size=2,
        progress=lambda done, total: seen.append((done, total)),
    )
    expected = vectors_of("a.jpg", "b.jpg", "c.png", "deep/d.webp")
    names = [
        str(photographs / "a.jpg"),
        UNSPLASH,
        str(photographs / "c.png"),
        str(photographs / "deep/d.webp"),
    ]
    np.testing.assert_array_equal(made.embeddings.vectors, expected)
    assert list(made.images) == names
    assert [(Path(s.path).name, s.code) for s in made.skipped] == [("broken.jpg", "image_undecodable")]
    assert seen == [(2, 5), (4, 5), (5, 5)]
    files = {path.name for path in (tmp_path / "new" / "vectors").iterdir()}
    assert files == {"embeddings.npy", "urls.json", "meta.json", "progress.sqlite"}
    saved = np.load(tmp_path / "new" / "vectors" / "embeddings.npy")
    assert saved.dtype == np.float32
    np.testing.assert_array_equal(saved, expected)
    assert json.loads((tmp_path / "new" / "vectors" / "urls.json").read_text()) == names


def test_what_was_written_is_read_back(model: Client, photographs: Path, tmp_path: Path) -> None:
    """Space, logit scale, names and skipped files survive the disk, by the folder and by the file."""
    made = generate_embeddings(model, photographs, tmp_path / "v")
    for path in (tmp_path / "v", str(tmp_path / "v" / "embeddings.npy")):
        read = read_collection(path)
        assert (read.embeddings.space, read.embeddings.logit_scale) == (SPACE, 20.0)
        np.testing.assert_array_equal(read.embeddings.vectors, made.embeddings.vectors)
        assert (read.images, read.skipped) == (made.images, made.skipped)


def test_a_busy_server_costs_no_image(server: InMemory, photographs: Path, tmp_path: Path) -> None:
    """An image that the server had no time for is sent again, and named if there was none again and again."""
    # c.png beside others, beside a.jpg, and then in two attempts alone.
    server.busy.extend([b"a.jpg", b"c.png", b"c.png", b"c.png", b"c.png"])
    twice = Client("", transport=server, backoff=Backoff(attempts=2, base=0.01))
    made = generate_embeddings(twice, photographs, tmp_path / "v")
    np.testing.assert_array_equal(made.embeddings.vectors, vectors_of("a.jpg", "b.jpg", "deep/d.webp"))
    assert [(Path(s.path).name, s.code) for s in made.skipped] == [
        ("broken.jpg", "image_undecodable"),
        ("c.png", "overloaded"),
    ]


def test_a_server_that_gives_no_answer_ends_the_run(photographs: Path, tmp_path: Path) -> None:
    """Not every batch of a large folder waits for the timeout, and no file is skipped for it."""

    class Hung(InMemory):
        def send(self, call: Call) -> bytes:
            answer = super().send(call)
            if self.fake.requests[-1][2].canary:  # The space is asked for first.
                return answer
            raise DeadlineExceeded("no complete answer within 30 s")

    hung = Hung()
    with pytest.raises(DeadlineExceeded, match="within 30 s"):
        generate_embeddings(Client("", transport=hung), photographs, tmp_path / "v", batch_size=2)
    assert len(hung.fake.requests) == 1 + 3
    assert [path.name for path in (tmp_path / "v").iterdir()] == ["progress.sqlite"]


def test_a_failed_run_leaves_the_last_one_whole(
    model: Client, server: InMemory, photographs: Path, tmp_path: Path
) -> None:
    """A server that goes away in the middle of a folder does not cost the vectors of the last run."""
    before = generate_embeddings(model, photographs, tmp_path / "v")
    (photographs / "a.jpg").unlink()
    server.lost = True
    with pytest.raises(Unavailable):
        generate_embeddings(model, photographs, tmp_path / "v")
    assert read_collection(tmp_path / "v").images == before.images


def test_a_run_with_nothing_to_write_says_so(model: Client, photographs: Path, tmp_path: Path) -> None:
    """A folder without images, or with broken ones only, is an error with a name in it and no empty file."""
    with pytest.raises(ValueError, match="batch_size must be at least 1"):
        generate_embeddings(model, photographs, tmp_path / "v", batch_size=0)
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"there are no images in .*empty"):
        generate_embeddings(model, tmp_path / "empty", tmp_path / "v")
    shutil.copy(photographs / "broken.jpg", tmp_path / "empty" / "x.png")
    with pytest.raises(ValueError, match=r"none of the 1 images .*x\.png: image_undecodable"):
        generate_embeddings(model, tmp_path / "empty", tmp_path / "v")
    assert [path.name for path in (tmp_path / "v").iterdir()] == ["progress.sqlite"]


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda folder: (folder / "meta.json").unlink(), "the space of its vectors is unknown"),
        (lambda folder: (folder / "urls.json").unlink(), r"urls\.json is missing"),
        (lambda folder: (folder / "urls.json").write_text('["one"]'), "no list of 4 names"),
        (lambda folder: (folder / "meta.json").write_text("{}"), "does not hold what"),
        (lambda folder: (folder / "meta.json").write_text('{"format": 9}'), "not of format 1"),
        (lambda folder: np.save(folder / "embeddings.npy", np.zeros((4, 3))), r"not float32 \[4, 16\]"),
        (lambda folder: (folder / "embeddings.npy").write_bytes(b"PK"), "does not hold what"),
        (lambda folder: np.save(folder / "embeddings.npy", np.array([{}])), "does not hold what"),
    ],
)
def test_files_of_two_runs_are_not_searched(
    model: Client, photographs: Path, tmp_path: Path, damage: Any, words: str
) -> None:
    """What is not complete, or not of one run, is refused with a sentence; nothing in it is unpickled."""
    generate_embeddings(model, photographs, tmp_path / "v")
    damage(tmp_path / "v")
    with pytest.raises(ValueError, match=words):
        MultiLingualSearch(model, tmp_path / "v")


def test_a_write_that_fails_leaves_no_half_file(
    photographs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk costs no more room than before, and the next run writes the files."""

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            generate_embeddings(Client("", transport=InMemory()), photographs, tmp_path / "v")
    assert [path.name for path in (tmp_path / "v").iterdir()] == ["progress.sqlite"]
    written = generate_embeddings(Client("", transport=InMemory()), photographs, tmp_path / "v")
    assert read_collection(tmp_path / "v").images == written.images

"""An archive's handler in batches, as a replica of Ray Serve runs it."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from babelclip import Client, SpaceMismatch, TransportError, wire
from babelclip.embedding_pb2 import EmbedRequest
from babelclip.model_store.archives import Archive, read_pair
from babelclip.ray_serve.tower import ArchivedTower
from tests.shared import mini_store

pytestmark = pytest.mark.slow  # loads exported models

POISON = b"\xff\xfe"


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The archives of the committed checkpoint."""
    return mini_store(tmp_path_factory)


@pytest.fixture(scope="module")
def archive(store: Path) -> Archive:
    return read_pair(store, None).archives["text"]


@pytest.fixture(scope="module")
def tower(archive: Archive) -> Iterator[ArchivedTower]:
    made = ArchivedTower("text", archive, "7.0")
    yield made
    made.close()


def test_a_batch_gives_each_request_its_own_answer(tower: ArchivedTower, store: Path) -> None:
    """N requests have N answers in their order, the vectors of the same model in process; poison is alone."""
    bodies = [wire.encode("text", [text.encode()], None) for text in ("a red heart", "кошка")]
    refused = EmbedRequest(texts=[b"a"], space="another").SerializeToString()
    answers = tower.embed([bodies[0], wire.encode("text", [POISON, b"a cat"], None), refused, bodies[1]])
    with Client(f"mar:{store}") as client:
        expected = client.embed_texts(["a red heart", "a cat", "кошка"])
    first, mixed, last = (wire.parse_response(answers[n], count) for n, count in ((0, 1), (1, 2), (3, 1)))
    np.testing.assert_allclose(
        np.concatenate([first.vectors, mixed.vectors[1:], last.vectors]), expected.vectors, atol=2e-3
    )
    assert [(error.index, error.code) for error in mixed.errors] == [(0, "invalid_utf8")]
    assert (first.version, first.space) == ("7.0", expected.space)
    with pytest.raises(SpaceMismatch):
        wire.parse_response(answers[2], 1)


def test_batches_are_those_of_the_archive(tower: ArchivedTower) -> None:
    """What was exported says how large they are and how long they wait, with either engine."""
    assert (tower.batch_size, tower.batch_delay) == (64, 0.001)


def test_what_was_unpacked_goes_with_the_tower(
    archive: Archive, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A replica that is replaced again and again does not fill the disk."""
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    made = ArchivedTower("text", archive, "1.0")
    assert any(name.startswith("babelclip-text-") for name in os.listdir(tmp_path))
    made.close()
    assert not any(name.startswith("babelclip-text-") for name in os.listdir(tmp_path))


def test_another_archive_than_the_manifest_names_is_refused(archive: Archive) -> None:
    """Before any of its code runs."""
    with pytest.raises(TransportError, match="SHA-256 differs"):
        ArchivedTower("text", dataclasses.replace(archive, sha256="0" * 64), "1.0")


def test_a_tower_that_gives_another_vector_never_serves(
    archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The golden item of the archive is what readiness is."""
    monkeypatch.setattr("handlers.base.check_self_test", lambda test, outcome: _mismatch())
    with pytest.raises(TransportError, match="fails its self-test: canary_mismatch"):
        ArchivedTower("text", archive, "1.0")


def _mismatch() -> object:
    from handlers.errors import RequestError

    return RequestError("canary_mismatch", "cosine 0.1")

"""Bulk embedding through a served model."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from babelclip.errors import Unavailable
from batch.model import ServedModel, StoreModel, model_of
from tests.clients.fake_server import DIM, SPACE, FakeServer, http_server, vector_of


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeServer]:
    """A server over HTTP."""
    monkeypatch.delenv("BABELCLIP_TOKEN", raising=False)
    monkeypatch.delenv("BABELCLIP_TOKEN_FILE", raising=False)
    served = http_server()
    yield served
    served.close()


def test_vectors_are_the_servers(server: FakeServer) -> None:
    """It is asked for its space once, and every worker insists on that; both towers are used."""
    model = ServedModel(server.url)
    identity = model.identity("vision")
    assert (identity.space, identity.dim, identity.archive) == (SPACE, DIM, "")
    for tower, items in (("vision", [b"one", b"two"]), ("text", [b"ein", "赤".encode()])):
        embedder = model.open(tower, identity, 1)  # type: ignore[arg-type]
        found = embedder.embed(items)
        np.testing.assert_allclose(found.vectors, [vector_of(item) for item in items])
        embedder.close()


def test_a_server_without_time_is_no_fault_of_an_item(
    server: FakeServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What it did not reach is no row with a code but a shard to be tried again."""
    monkeypatch.setattr("batch.model._TIMEOUT", 1.0)
    model = ServedModel(server.url)
    identity = model.identity("text")
    server.failures.extend(["stall"] * 8)
    embedder = model.open("text", identity, 1)
    with pytest.raises(Unavailable, match="had no time for all items"):
        embedder.embed([b"one"])
    embedder.close()


def test_an_address_says_which_model(tmp_path: Path) -> None:
    """Of a store it is made absolute: workers may stand in other folders."""
    found = model_of("mar:model_store#mini")
    assert isinstance(found, StoreModel)
    assert Path(found.store).is_absolute()
    assert found.name == "mini"
    assert model_of("grpc://host:7070") == ServedModel("grpc://host:7070")
    with pytest.raises(ValueError, match="names no model store"):
        model_of("mar:")

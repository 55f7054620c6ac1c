"""A client stays in its embedding space while the server's versions change around it."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from babelclip import AsyncClient, Client, Embeddings, ModelNotFound, MultiLingualSearch, SpaceMismatch
from babelclip.transports.base import Call
from tests.clients.fake_server import DIM, FakeServer, grpc_server, http_server, vector_of

OLD, NEW = "a" * 16, "b" * 16


@pytest.fixture(params=["http", "grpc"])
def rolling(request: pytest.FixtureRequest) -> Iterator[FakeServer]:
    """Two versions with spaces of their own; the old one is the default."""
    fake = http_server() if request.param == "http" else grpc_server()
    fake.spaces = {"1.0": OLD, "2.0": NEW}
    fake.default = "1.0"
    yield fake
    fake.close()


def test_a_promotion_does_not_move_a_client(rolling: FakeServer) -> None:
    """Text and image vectors of one client are of one space, whichever version is the default meanwhile."""
    with Client(rolling.url) as client:
        texts = client.embed_texts(["a"])
        rolling.default = "2.0"
        images = client.embed_images([b"b"])
        assert (texts.space, images.space, client.version) == (OLD, OLD, "1.0")
        assert client.similarity(texts, images).shape == (1, 1)
    with Client(rolling.url) as client:
        assert client.embed_texts(["a"]).space == NEW


def test_an_async_client_stays_too(rolling: FakeServer) -> None:
    """The same holds for an event loop."""

    async def session() -> tuple[str, str]:
        async with AsyncClient(rolling.url) as client:
            texts = await client.embed_texts(["a"])
            rolling.default = "2.0"
            return texts.space, (await client.embed_images([b"b"])).space

    assert asyncio.run(session()) == (OLD, OLD)


def test_a_retired_version_is_followed_into_the_same_space(rolling: FakeServer) -> None:
    """A version that was only exported anew replaces the old one without the caller noticing."""
    rolling.spaces["2.0"] = OLD
    with Client(rolling.url) as client:
        client.embed_texts(["a"])
        rolling.default, rolling.versions = "2.0", {"2.0"}
        assert client.embed_images([b"b"]).space == OLD
        assert client.version == "2.0"


def test_a_retired_space_is_said_to_be_gone(rolling: FakeServer) -> None:
    """No vector of another space is returned, and the error says which version was lost."""
    with Client(rolling.url) as client:
        client.embed_texts(["a"])
        rolling.default, rolling.versions = "2.0", {"2.0"}
        with pytest.raises(SpaceMismatch, match=r"Version 1\.0, which served the space a+, is gone"):
            client.embed_images([b"b"])


def test_a_version_that_was_asked_for_is_never_replaced(rolling: FakeServer) -> None:
    """Who names a version gets that one or an error, though another may serve the same space."""
    rolling.spaces["2.0"] = OLD
    with Client(rolling.url, version="1.0") as client:
        client.embed_texts(["a"])
        rolling.default, rolling.versions = "2.0", {"2.0"}
        with pytest.raises(ModelNotFound, match=r"1\.0"):
            client.embed_texts(["a"])


def test_answers_that_cross_a_switch_are_asked_again() -> None:
    """A first call under way during the switch ends in the space that another first call has settled on."""

    class Switching:
        """The second call is answered only after the default has changed and the first has been."""

        def __init__(self) -> None:
            self.fake = FakeServer()
            self.fake.spaces, self.fake.default = {"1.0": OLD, "2.0": NEW}, "2.0"

        def send(self, call: Call) -> bytes:
            answer = self.fake.embed(call.model, call.version, call.body)
            if len(self.fake.requests) == 1:
                self.fake.default = "1.0"
                client.embed_texts(["settles on the old version"])
            return answer

        def close(self) -> None:
            pass

    transport = Switching()
    client = Client("", transport=transport)
    assert client.embed_images([b"under way"]).space == OLD
    assert [version for _, version, _ in transport.fake.requests] == [None, None, "1.0"]


def test_a_search_asks_the_version_of_its_index(rolling: FakeServer) -> None:
    """An index made before a promotion is searched in its own space, by a client that was made after it."""
    with Client(rolling.url) as client:
        images = client.embed_images([b"b"])
    assert (images.version, images.space) == ("1.0", OLD)
    rolling.default = "2.0"
    with Client(rolling.url) as client:
        (found,) = MultiLingualSearch(client, images, ["b.jpg"]).search("a")
        assert (found["image"], client.version) == ("b.jpg", "1.0")
        with pytest.raises(SpaceMismatch, match="pinned to the space"):
            client.pin(NEW, "2.0")


def test_an_older_server_that_names_no_version_still_serves(web: FakeServer) -> None:
    """Archives exported before versions were in the answer pin the space alone, as they always have."""
    with Client(web.url) as client:
        found = client.embed_texts(["a"])
        assert (found.version, client.version) == ("", None)
    assert isinstance(found, Embeddings)
    assert found.vectors[0] == pytest.approx(vector_of(b"a"))
    assert found.dim == DIM

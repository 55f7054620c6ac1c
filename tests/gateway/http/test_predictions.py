"""babelclip's own clients at the gateway's addresses: what they get of a tower, they get here."""

import asyncio
import contextlib
from collections.abc import Iterator
from pathlib import Path

import httpx
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from babelclip import (
    AsyncClient,
    AuthenticationError,
    Client,
    ItemErrors,
    ModelNotFound,
    RequestRefused,
    SpaceMismatch,
    Unavailable,
)
from babelclip.embedding_pb2 import EmbedRequest, EmbedResponse
from babelclip.testing import InMemoryTransport
from gateway import wire_format
from gateway.errors import ApiError
from gateway.http.predictions import PROTOBUF
from tests.gateway.engine import Engine
from tests.gateway.front import Front, gateway
from tests.gateway.test_metrics import counted, eventually


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A gateway before an engine of two versions, and an item that it cannot embed."""
    failing: dict[str | bytes, tuple[str, str]] = {
        "poison": ("text_too_long", "too long"),
        b"broken": ("image_truncated", "cut off"),
    }
    engine = Engine(
        InMemoryTransport(failing=failing, unknown=["?"]), InMemoryTransport(space="new", version="2.0")
    )
    with gateway(engine, tmp_path_factory.mktemp("gateway"), max_items=200) as running:
        yield running


@pytest.fixture(params=["http", "grpc"])
def url(request: pytest.FixtureRequest, front: Front) -> str:
    """The gateway's address, over either protocol."""
    return str(getattr(front.addresses, request.param))


def test_a_client_gets_the_engines_vectors(front: Front, url: str) -> None:
    """An address and a key are all that changes for a program that spoke to TorchServe."""
    engine = front.engine.versions["1.0"]
    with Client(url, token=front.key) as client:
        assert client.health() == "in-memory"
        texts = client.embed_texts(["a", "poison", "?"], errors="return")
        images = client.embed_images([b"one", b"two"])
    np.testing.assert_array_equal(texts.vectors[0], engine.vector("a"))
    np.testing.assert_array_equal(images.vectors[1], engine.vector(b"two"))
    assert [(error.index, error.code, error.message) for error in texts.errors] == [
        (1, "text_too_long", "too long")
    ]
    assert (texts.unknown, texts.space, texts.version) == ((2,), "in-memory", "1.0")
    assert texts.tokens == (1, 0, 1)
    assert texts.logit_scale == engine.logit_scale


def test_an_event_loops_client_does_too(front: Front) -> None:
    """The same for asyncio, with a version that it names."""
    # Over HTTP alone: gRPC has one poller for all event loops of a process, and the gateway's is one of them.

    async def embed() -> np.ndarray:
        async with AsyncClient(front.addresses.http, token=front.key, version="2.0") as client:
            assert await client.health() == "new"
            return (await client.embed_texts(["a", "b"])).vectors

    np.testing.assert_array_equal(asyncio.run(embed())[1], front.engine.versions["2.0"].vector("b"))


def test_too_many_items_are_refused_by_their_number(front: Front, url: str) -> None:
    """A client that sends more at a time than the gateway takes is told how many those are."""
    with Client(url, token=front.key) as client, pytest.raises(RequestRefused, match="at most 200"):
        client.embed_texts(["a"] * 201)


def test_failures_are_the_clients_own(front: Front, url: str) -> None:
    """A program's handling of errors stays as it was."""
    with Client(url, token="bck_wrong") as client, pytest.raises(AuthenticationError):
        client.embed_texts(["a"])
    with Client(url, token=front.key, version="3.0") as client, pytest.raises(ModelNotFound):
        client.embed_texts(["a"])
    with Client(url, token=front.key, text_model="audio") as client, pytest.raises(ModelNotFound):
        client.embed_texts(["a"])
    with Client(url, token=front.key, space="another") as client, pytest.raises(SpaceMismatch):
        client.embed_texts(["a"])
    with Client(url, token=front.key) as client, pytest.raises(ItemErrors) as caught:
        client.embed_images([b"one", b"broken"])
    assert [error.code for error in caught.value.errors] == ["image_truncated"]


def test_a_model_is_named_before_its_tower(front: Front, url: str) -> None:
    """Of several models behind one gateway, a client says which."""
    with Client(url, token=front.key, text_model="clip:text", vision_model="clip:vision") as client:
        assert client.health() == "in-memory"
        assert len(client.embed_texts(["a"])) == len(client.embed_images([b"a"])) == 1


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"\xff", "no serialized EmbedRequest"),
        (EmbedRequest().SerializeToString(), "at least one item"),
        (EmbedRequest(images=[b"a"]).SerializeToString(), "takes no images"),
    ],
)
def test_a_request_that_is_none_is_refused_with_a_sentence(front: Front, body: bytes, says: str) -> None:
    """What another program sends here by mistake is answered in the form that the client reads."""
    answer = front.post("/predictions/text", content=body, headers={"content-type": PROTOBUF})
    assert answer.status_code == 400
    assert says in EmbedResponse.FromString(answer.content).error.message


def test_json_is_sent_elsewhere(front: Front) -> None:
    """The address takes one form; the message says which."""
    answer = front.post("/predictions/text", json={"inputs": ["a"]})
    assert answer.status_code == 415
    assert PROTOBUF in answer.json()["error"]["message"]


def test_text_that_is_no_utf8_costs_only_itself(front: Front) -> None:
    """The wire carries bytes, so that one bad text spoils no message."""
    body = EmbedRequest(texts=[b"\xff", b"a"]).SerializeToString()
    answer = front.post("/predictions/text/1.0", content=body, headers={"content-type": PROTOBUF})
    response = EmbedResponse.FromString(answer.content)
    assert [(error.index, error.code) for error in response.errors] == [(0, "invalid_utf8")]
    assert len(response.vectors) == 2 * response.dim * 4


def test_an_engine_that_is_away_is_unavailable(tmp_path: Path) -> None:
    """The client tries again, as it would at the engine itself, and the canary does not pass."""
    with gateway(Engine(), tmp_path) as front:
        front.engine.fail_with(Unavailable("no worker", retryable=False))
        for url in (front.addresses.http, front.addresses.grpc):
            with Client(url, token=front.key) as client, pytest.raises(Unavailable):
                client.health()
        sick = RequestRefused("canary_mismatch", "another vector than it must be")
        front.engine.fail_with(sick)
        with (
            Client(front.addresses.http, token=front.key) as client,
            pytest.raises(RequestRefused, match="another vector"),
        ):
            client.health()


def test_the_calls_are_counted_by_name(front: Front) -> None:
    """A path holds what callers choose; the metrics hold the tower's address and the key's name."""
    with Client(front.addresses.http, token=front.key, version="1.0") as client:
        client.embed_texts(["a"])
    labels = {"call": "/predictions/{tower}", "model": "clip", "key": "test", "status": "200"}
    eventually(lambda: counted(front, "requests_total", **labels))
    assert httpx.post(f"{front.addresses.http}/predictions/text").status_code == 401


@given(data=st.binary(max_size=200))
@settings(max_examples=50)
def test_no_bytes_break_the_reader(data: bytes) -> None:
    """Whatever stands in the body, it becomes a request or a refusal."""
    with contextlib.suppress(ApiError):
        asked = wire_format.read(data, "text", 10)
        assert asked.canary or 0 < len(asked.items) <= 10

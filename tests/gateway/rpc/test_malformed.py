"""Bytes over gRPC that are no message: the caller's mistake, said as such, in every call and in a stream."""

from collections.abc import Iterator

import grpc
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.rpc import embedder_pb2 as pb
from tests.e2e.support import PATIENCE
from tests.gateway.engine import Engine
from tests.gateway.front import Front, gateway

SERVICE = pb.DESCRIPTOR.services_by_name["Embedder"]
SOUND = pb.EmbedItemsRequest(items=[pb.Item(text="a")]).SerializeToString()
BROKEN = {"cut": b"\x12\xff", "no wire format": b"\xff" * 20, "no UTF-8": b"\x12\x03\x0a\x01\xff"}


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A gateway before an engine in memory."""
    with gateway(Engine(), tmp_path_factory.mktemp("front")) as front:
        yield front


@pytest.fixture(scope="module")
def channel(front: Front) -> Iterator[grpc.Channel]:
    """A channel to it."""
    with grpc.insecure_channel(front.addresses.grpc.removeprefix("grpc://")) as channel:
        yield channel


def send(front: Front, channel: grpc.Channel, name: str, *sent: bytes) -> list[bytes]:
    """The answers to raw messages."""
    path, bearer = f"/{SERVICE.full_name}/{name}", (("authorization", f"Bearer {front.key}"),)
    if SERVICE.methods_by_name[name].client_streaming:
        stream: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(path)
        return list(stream(iter(sent), metadata=bearer, timeout=PATIENCE))
    call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
    return [call(sent[0], metadata=bearer, timeout=PATIENCE)]


@pytest.mark.parametrize(
    ("name", "what"),
    # The bytes that are no UTF-8 are an item's text, which only these calls have in that place.
    [
        (method.name, what)
        for method in SERVICE.methods
        for what in BROKEN
        if what != "no UTF-8" or method.name.startswith("Embed")
    ],
)
def test_it_is_an_invalid_argument(front: Front, channel: grpc.Channel, name: str, what: str) -> None:
    """No call fails as if the gateway had, and none tells of its classes."""
    with pytest.raises(grpc.RpcError) as caught:
        send(front, channel, name, BROKEN[what])
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert "google" not in (caught.value.details() or "")
    assert send(front, channel, "Embed", SOUND)


def test_a_stream_ends_with_it_after_the_answers_before(front: Front, channel: grpc.Channel) -> None:
    """What came before is answered, and nobody waits for ever."""
    call: grpc.StreamStreamMultiCallable[bytes, bytes] = channel.stream_stream(
        f"/{SERVICE.full_name}/EmbedStream"
    )
    answers = call(
        iter([SOUND, SOUND, BROKEN["cut"], SOUND]),
        metadata=(("authorization", f"Bearer {front.key}"),),
        timeout=PATIENCE,
    )
    assert pb.EmbedItemsResponse.FromString(next(answers)).dim == 32
    assert pb.EmbedItemsResponse.FromString(next(answers)).dim == 32
    with pytest.raises(grpc.RpcError) as caught:
        next(answers)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


@given(data=st.binary(max_size=60))
@settings(max_examples=50, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_are_a_message_or_refused(front: Front, channel: grpc.Channel, data: bytes) -> None:
    """Whatever arrives is answered, or is the caller's mistake."""
    try:
        send(front, channel, "Embed", data)
    except grpc.RpcError as error:
        code = error.code()
    else:
        return
    assert code in (
        grpc.StatusCode.INVALID_ARGUMENT,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.FAILED_PRECONDITION,
    )

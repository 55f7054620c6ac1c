"""The gRPC service over a real channel: items, errors, streams, keys, deadlines, health and reflection."""

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import grpc
import grpc_tools
import numpy as np
import pytest
from google.protobuf import descriptor_pb2
from google.rpc.error_details_pb2 import ErrorInfo, RetryInfo
from google.rpc.status_pb2 import Status
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc
from grpc_tools import protoc

from babelclip import Call, Unavailable
from babelclip.embedding_pb2 import EmbedRequest
from babelclip.testing import InMemoryTransport
from gateway.metrics import Metrics
from gateway.rpc import embedder_pb2 as pb
from gateway.rpc.service import AHEAD, Embedder
from gateway.rpc.status import DETAILS_KEY
from tests.clients.test_proto import without_versions
from tests.e2e.support import PATIENCE
from tests.gateway.engine import Engine, models
from tests.gateway.front import Front, gateway
from tests.places import REPOSITORY


class Stub:
    """The service's calls over a channel, as a generated stub has them."""

    def __init__(self, channel: grpc.Channel, key: str) -> None:
        self.channel = channel
        self.metadata = (("authorization", f"Bearer {key}"),)

    def _call(self, kind: str, name: str, request: Any, response: Any) -> Any:
        return getattr(self.channel, kind)(
            f"/babelclip.v1.Embedder/{name}",
            request_serializer=request.SerializeToString,
            response_deserializer=response.FromString,
        )

    def embed(self, *items: str | bytes, timeout: float = PATIENCE, **fields: Any) -> pb.EmbedItemsResponse:
        """Embed, with the key."""
        call = self._call("unary_unary", "Embed", pb.EmbedItemsRequest, pb.EmbedItemsResponse)
        return call(request(*items, **fields), metadata=self.metadata, timeout=timeout)  # type: ignore[no-any-return]

    def stream(self, requests: Iterator[pb.EmbedItemsRequest]) -> Iterator[pb.EmbedItemsResponse]:
        """EmbedStream, with the key."""
        call = self._call("stream_stream", "EmbedStream", pb.EmbedItemsRequest, pb.EmbedItemsResponse)
        return call(requests, metadata=self.metadata, timeout=PATIENCE)  # type: ignore[no-any-return]

    def models(self) -> pb.ModelsResponse:
        """Models, with the key."""
        call = self._call("unary_unary", "Models", pb.ModelsRequest, pb.ModelsResponse)
        return call(pb.ModelsRequest(), metadata=self.metadata, timeout=PATIENCE)  # type: ignore[no-any-return]


def request(*items: str | bytes, **fields: Any) -> pb.EmbedItemsRequest:
    """A request of texts and images."""
    kinds = [pb.Item(text=item) if isinstance(item, str) else pb.Item(image=item) for item in items]
    return pb.EmbedItemsRequest(items=kinds, **fields)


def rows(response: pb.EmbedItemsResponse) -> np.ndarray:
    """The vectors of an answer."""
    return np.frombuffer(response.vectors, "<f4").reshape(-1, response.dim)


def details(error: grpc.RpcError) -> Status:
    """What a status says for programs."""
    assert isinstance(error, grpc.Call)
    found = dict(error.trailing_metadata() or ())
    return Status.FromString(found[DETAILS_KEY])


@pytest.fixture(scope="module")
def front(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Front]:
    """A gateway before two versions."""
    old = InMemoryTransport(
        failing={"poison": ("empty_item", "nothing to see")}, unknown=["ⴰⵣⵓⵍ"], version="1.0"
    )
    engine = Engine(old, InMemoryTransport(space="new", version="2.0", dim=8))
    with gateway(engine, tmp_path_factory.mktemp("front"), max_items=100) as front:
        yield front


@pytest.fixture
def stub(front: Front) -> Iterator[Stub]:
    """Its calls."""
    with channel(front) as opened:
        yield Stub(opened, front.key)


def channel(front: Front) -> grpc.Channel:
    """A channel to the gateway."""
    return grpc.insecure_channel(front.addresses.grpc.removeprefix("grpc://"))


def test_items_of_both_kinds_have_their_own_outcomes(front: Front, stub: Stub) -> None:
    """One answer has the vectors, and the error of each item that failed."""
    response = stub.embed("a", b"image", "poison", "ⴰⵣⵓⵍ", model="clip")
    memory = front.engine.versions["1.0"]
    expected = np.stack([memory.vector("a"), memory.vector(b"image"), np.zeros(32), memory.vector("ⴰⵣⵓⵍ")])
    np.testing.assert_allclose(rows(response), expected, atol=1e-6)
    assert [(error.index, error.code, error.message) for error in response.errors] == [
        (2, "empty_item", "nothing to see")
    ]
    assert (response.model, response.space, response.logit_scale) == ("clip@1.0", "in-memory", 50.0)
    assert list(response.unknown) == [3]
    assert list(response.tokens) == [1, 0, 0, 1]


def test_an_item_of_neither_kind_costs_only_itself(stub: Stub) -> None:
    """A client of a later version of the protocol is told so for that item."""
    call = stub._call("unary_unary", "Embed", pb.EmbedItemsRequest, pb.EmbedItemsResponse)
    sent = pb.EmbedItemsRequest(items=[pb.Item(), pb.Item(text="a")])
    response = call(sent, metadata=stub.metadata, timeout=PATIENCE)
    assert [(error.index, error.code) for error in response.errors] == [(0, "invalid_item")]
    assert rows(response)[1].any()


def test_versions_and_models_are_those_of_http(stub: Stub) -> None:
    """NAME@VERSION chooses the version, and the list has the spaces."""
    response = stub.embed("a", model="clip@2.0")
    assert (response.model, response.space, response.dim) == ("clip@2.0", "new", 8)
    found = {model.name: model for model in stub.models().models}
    assert (found["clip"].space, found["clip"].version, found["clip"].dim) == ("in-memory", "1.0", 32)
    assert found["clip@2.0"].space == "new"


@pytest.mark.parametrize(
    ("items", "fields", "code", "reason"),
    [
        ((), {}, grpc.StatusCode.INVALID_ARGUMENT, "empty_request"),
        (("a",) * 101, {}, grpc.StatusCode.INVALID_ARGUMENT, "too_many_items"),
        (("a",), {"model": "other"}, grpc.StatusCode.NOT_FOUND, "model_not_found"),
        (("a",), {"model": "clip@9.9"}, grpc.StatusCode.NOT_FOUND, "model_not_found"),
        (("a",), {"space": "new"}, grpc.StatusCode.FAILED_PRECONDITION, "space_mismatch"),
    ],
)
def test_a_request_that_fails_as_a_whole_ends_with_a_status(
    stub: Stub, items: tuple[str, ...], fields: dict[str, Any], code: grpc.StatusCode, reason: str
) -> None:
    """The status is gRPC's own, and its details have the code for programs."""
    with pytest.raises(grpc.RpcError) as caught:
        stub.embed(*items, **fields)
    assert caught.value.code() is code
    status = details(caught.value)
    assert status.message == caught.value.details()
    info = ErrorInfo()
    assert status.details[0].Unpack(info)
    assert (info.reason, info.domain) == (reason, "babelclip")


@pytest.mark.parametrize("name", ["Embed", "EmbedStream", "Models", "None"])
@pytest.mark.parametrize(
    "metadata", [(), (("authorization", "Bearer wrong"),), (("authorization", "Basic x"),)]
)
def test_no_call_without_a_key(front: Front, name: str, metadata: tuple[tuple[str, str], ...]) -> None:
    """Every call of the service is refused without a key, a stream before it sends anything."""
    path = f"/babelclip.v1.Embedder/{name}"
    with channel(front) as opened:
        waiting = threading.Event()

        def requests() -> Iterator[bytes]:
            waiting.wait(PATIENCE)
            yield b""

        try:
            if name == "EmbedStream":
                stream: grpc.StreamStreamMultiCallable[bytes, bytes] = opened.stream_stream(path)
                answers = stream(requests(), metadata=metadata, timeout=PATIENCE)
                with pytest.raises(grpc.RpcError) as caught:
                    next(answers)
            else:
                call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = opened.unary_unary(path)
                with pytest.raises(grpc.RpcError) as caught:
                    call(b"", metadata=metadata, timeout=PATIENCE)
        finally:
            waiting.set()
    assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED


def test_a_stream_answers_each_request_in_order_as_it_comes(front: Front, stub: Stub) -> None:
    """A caller may wait for an answer before the next request, and none overtakes another."""
    answered = threading.Semaphore(1)

    def one_by_one() -> Iterator[pb.EmbedItemsRequest]:
        for number in range(20):
            assert answered.acquire(timeout=PATIENCE)
            yield request(f"text {number}")

    memory = front.engine.versions["1.0"]
    count = 0
    for number, response in enumerate(stub.stream(one_by_one())):
        np.testing.assert_allclose(rows(response), [memory.vector(f"text {number}")], atol=1e-6)
        count += 1
        answered.release()
    assert count == 20
    at_once = list(stub.stream(iter([request(f"text {number}") for number in range(50)])))
    assert [rows(response).tolist() for response in at_once] == [
        [memory.vector(f"text {number}").tolist()] for number in range(50)
    ]


def test_a_stream_reads_no_further_than_it_is_read() -> None:
    """Who takes no answers does not fill the gateway's memory: the requests wait with the caller."""

    class Context:
        def time_remaining(self) -> None:
            return None

    async def run() -> None:
        read = 0

        async def requests() -> AsyncIterator[pb.EmbedItemsRequest]:
            nonlocal read
            for number in range(50):
                read += 1
                yield request(f"text {number}")

        taken = 0
        embedder = Embedder(models(Engine()), 100, Metrics())
        async for _ in embedder.embed_stream(requests(), Context()):  # type: ignore[arg-type]
            taken += 1
            for _ in range(100):  # Whatever could be read meanwhile is.
                await asyncio.sleep(0)
            assert read <= taken + AHEAD
        assert taken == 50

    asyncio.run(run())


def test_a_wrong_request_ends_a_stream_after_the_answers_before_it(stub: Stub) -> None:
    """What was answered is not lost, and the status is that of the request."""
    answers = stub.stream(iter([request("a"), request("b"), request(), request("c")]))
    assert rows(next(answers)).shape == (1, 32)
    assert rows(next(answers)).shape == (1, 32)
    with pytest.raises(grpc.RpcError) as caught:
        next(answers)
    assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


def test_the_callers_deadline_reaches_the_tower(front: Front, stub: Stub) -> None:
    """A tower computes no longer than its caller waits."""
    stub.embed("a", timeout=20.0)
    told = EmbedRequest.FromString(front.engine.calls[-1].body).timeout_ms
    assert 0 < told < 25_000  # gRPC rounds what is left up; an engine that is told nothing has 30 seconds.


def test_an_engine_that_is_away_says_when_to_come_again(tmp_path: Path) -> None:
    """The status is UNAVAILABLE with the time to wait, and health and the list of models say so as well."""
    engine = Engine()
    engine.fail_with(Unavailable("no answer from 127.0.0.1:7070", retryable=False))
    with gateway(engine, tmp_path) as front, channel(front) as opened:
        stub = Stub(opened, front.key)
        with pytest.raises(grpc.RpcError) as caught:
            stub.embed("a")
        assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        retry = RetryInfo()
        assert details(caught.value).details[1].Unpack(retry)
        assert retry.retry_delay.seconds == 1
        assert "127.0.0.1" not in str(caught.value.details())
        (model,) = stub.models().models
        assert (model.name, model.space) == ("clip", "")
        assert "not ready" in model.problem
        answer = health_pb2_grpc.HealthStub(opened).Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
        assert answer.status == health_pb2.HealthCheckResponse.NOT_SERVING


@pytest.mark.parametrize("service", ["", "babelclip.v1.Embedder"])
def test_the_standard_health_service_tells_of_the_towers(front: Front, service: str) -> None:
    """Kubernetes' probe and grpc_health_probe, which have no key, see when the towers embed."""
    with channel(front) as opened:
        watch = health_pb2_grpc.HealthStub(opened).Watch(
            health_pb2.HealthCheckRequest(service=service), timeout=PATIENCE
        )
        serving = health_pb2.HealthCheckResponse.SERVING
        assert any(answer.status == serving for answer in watch)
        watch.cancel()


def test_reflection_lists_and_describes_the_service(front: Front) -> None:
    """grpcurl needs no proto file and no key to show the service and its messages."""
    with channel(front) as opened:
        ask = reflection_pb2_grpc.ServerReflectionStub(opened).ServerReflectionInfo
        asked = [
            reflection_pb2.ServerReflectionRequest(list_services=""),
            reflection_pb2.ServerReflectionRequest(file_containing_symbol="babelclip.v1.Embedder"),
        ]
        listed, described = list(ask(iter(asked), timeout=PATIENCE))
    services = {service.name for service in listed.list_services_response.service}
    assert {"babelclip.v1.Embedder", "grpc.health.v1.Health"} <= services
    files = described.file_descriptor_response.file_descriptor_proto
    (service,) = descriptor_pb2.FileDescriptorProto.FromString(files[0]).service
    assert {"Embed", "EmbedStream", "Similarity", "Classify", "Rerank", "Models"} == {
        method.name for method in service.method
    }


def test_every_call_of_the_proto_is_served(front: Front) -> None:
    """The proto file promises nothing that is not there."""
    service = pb.DESCRIPTOR.services_by_name["Embedder"]
    with channel(front) as opened:
        for method in service.methods:
            call: grpc.StreamStreamMultiCallable[bytes, bytes] = opened.stream_stream(
                f"/{service.full_name}/{method.name}"
            )
            answers = call(
                iter([b""]), metadata=(("authorization", f"Bearer {front.key}"),), timeout=PATIENCE
            )
            with contextlib.suppress(grpc.RpcError):
                list(answers)
            assert answers.code() is not grpc.StatusCode.UNIMPLEMENTED, method.name


def test_a_mistake_of_ours_tells_nothing(tmp_path: Path) -> None:
    """An unexpected error is INTERNAL without how it came about."""
    engine = Engine()
    with gateway(engine, tmp_path) as front, channel(front) as opened:
        stub = Stub(opened, front.key)
        stub.embed("a")

        def fail(call: Call) -> None:
            raise RuntimeError("a secret of the machine")

        engine.before = fail
        with pytest.raises(grpc.RpcError) as caught:
            stub.embed("a")
    assert caught.value.code() is grpc.StatusCode.INTERNAL
    assert "secret" not in str(caught.value.details())


def test_generated_code_is_current(tmp_path: Path) -> None:
    """A changed .proto whose code was not regenerated (scripts/proto) is noticed."""
    arguments = ["", f"--proto_path={REPOSITORY}", f"--python_out={tmp_path}", f"--pyi_out={tmp_path}"]
    names = ("gateway/rpc/embedder", "gateway/rpc/collections")
    included = f"--proto_path={Path(grpc_tools.__file__).parent / '_proto'}"
    assert protoc.main([*arguments, included, *(f"{name}.proto" for name in names)]) == 0
    for file in (f"{name}{kind}" for name in names for kind in ("_pb2.py", "_pb2.pyi")):
        made = (tmp_path / file).read_text()
        assert without_versions(made) == without_versions((REPOSITORY / file).read_text()), file


def test_a_connection_is_renewed_and_loses_no_call(tmp_path: Path) -> None:
    """A client that stays connected comes to other replicas too, and a call under way is still answered."""
    engine = Engine()
    begun, go_on = threading.Event(), threading.Event()

    async def during(call: Call) -> None:
        if EmbedRequest.FromString(call.body).texts == [b"slow"]:
            begun.set()
            await asyncio.to_thread(go_on.wait, PATIENCE)

    engine.during = during
    with gateway(engine, tmp_path, grpc_connection_seconds=0.2) as front:
        address = front.addresses.grpc.removeprefix("grpc://")
        with grpc.insecure_channel(address) as channel:
            left = threading.Event()
            reached = threading.Event()

            def seen(state: grpc.ChannelConnectivity) -> None:
                if state is grpc.ChannelConnectivity.READY:
                    reached.set()
                elif reached.is_set():
                    left.set()

            channel.subscribe(seen)
            stub = Stub(channel, front.key)
            with ThreadPoolExecutor(1) as threads:
                answer = threads.submit(stub.embed, "slow")
                assert begun.wait(PATIENCE)
                assert left.wait(PATIENCE)
                go_on.set()
                assert not answer.result(PATIENCE).errors
            assert not stub.embed("again").errors

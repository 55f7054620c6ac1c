"""Traces, with a receiver of OTLP: from the caller's span through the gateway's to the tower's call."""

import contextlib
import itertools
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import grpc
import httpx
import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span, Status
from opentelemetry.sdk.trace import TracerProvider
from prometheus_client.openmetrics.exposition import CONTENT_TYPE_LATEST
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from babelclip import Call, Client
from babelclip.embedding_pb2 import EmbedRequest, EmbedResponse
from babelclip.errors import Unavailable
from babelclip.testing import InMemoryTransport
from babelclip.tracing import trace_headers
from gateway import tracing
from gateway.merged_metrics import merged
from gateway.metrics_server import MetricsServer
from gateway.rpc import embedder_pb2 as pb
from tests.e2e.support import PATIENCE
from tests.gateway.engine import Engine
from tests.gateway.front import Front, gateway
from tests.gateway.test_metrics import eventually
from tests.places import REPOSITORY

TRACE, CALLER = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"
PARENT = f"00-{TRACE}-{CALLER}-01"


class Receiver(ThreadingHTTPServer):
    """Takes spans as a collector does."""

    def __init__(self) -> None:
        self.spans: list[Span] = []
        receiver = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                for resource in ExportTraceServiceRequest.FromString(body).resource_spans:
                    for scope in resource.scope_spans:
                        receiver.spans += scope.spans
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        super().__init__(("127.0.0.1", 0), Handler)


@pytest.fixture
def receiver() -> Iterator[Receiver]:
    """A receiver that runs."""
    made = Receiver()
    thread = threading.Thread(target=made.serve_forever, args=(0.02,))
    thread.start()
    yield made
    made.shutdown()
    made.server_close()
    thread.join()


def traced(front: Front, way: str) -> None:
    """One call of a text and an image within the caller's span."""
    if way == "HTTP":
        body = {"input": ["a", {"image": "aGVsbG8="}]}
        assert front.post(json=body, headers={"traceparent": PARENT}).status_code == 200
        return
    with grpc.insecure_channel(front.addresses.grpc.removeprefix("grpc://")) as channel:
        sent = pb.EmbedItemsRequest(items=[pb.Item(text="a"), pb.Item(image=b"hello")]).SerializeToString()
        metadata = (("authorization", f"Bearer {front.key}"), ("traceparent", PARENT))
        call: grpc.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary("/babelclip.v1.Embedder/Embed")
        call(sent, metadata=metadata, timeout=PATIENCE)


@pytest.mark.parametrize(("way", "name"), [("HTTP", "/v1/embeddings"), ("gRPC", "Embed")])
def test_a_trace_leads_from_the_caller_to_the_towers(
    way: str, name: str, receiver: Receiver, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The call is a child of the caller's span, each tower's of the call's, and the engine is told of it."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{receiver.server_port}")
    engine = Engine()
    end = tracing.start({"OTEL_EXPORTER_OTLP_ENDPOINT": "set"})
    try:
        with gateway(engine, tmp_path) as front:
            traced(front, way)
    finally:
        end()
    spans = {span.name: span for span in receiver.spans if span.trace_id.hex() == TRACE}
    assert set(spans) == {name, "embed text", "embed vision"}
    assert spans[name].parent_span_id.hex() == CALLER
    for tower in ("text", "vision"):
        span = spans[f"embed {tower}"]
        assert span.parent_span_id == spans[name].span_id
        sent = [call.headers for call in engine.calls if call.model == tower]
        assert f"00-{TRACE}-{span.span_id.hex()}-01" in [dict(headers).get("traceparent") for headers in sent]


@pytest.fixture
def traces(receiver: Receiver, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], None]]:
    """The gateway sends its spans to the receiver; what is given sends the last ones."""
    monkeypatch.setenv("OTEL_EXPORTER_OTLP_ENDPOINT", f"http://127.0.0.1:{receiver.server_port}")
    ended = contextlib.ExitStack()
    ended.callback(tracing.start({"OTEL_EXPORTER_OTLP_ENDPOINT": "set"}))
    with ended:
        yield ended.close


def test_a_client_its_gateway_and_the_towers_are_one_trace(
    receiver: Receiver, traces: Callable[[], None], tmp_path: Path
) -> None:
    """With `headers=trace_headers` what the gateway adds is below the span of the client's program."""
    provider = TracerProvider()
    tracer = provider.get_tracer("program")
    with gateway(Engine(), tmp_path) as front, tracer.start_as_current_span("search") as span:
        for url in (front.addresses.http, front.addresses.grpc):
            with Client(url, token=front.key, headers=trace_headers) as client:
                client.embed_texts(["a"])
    traces()
    provider.shutdown()
    own = span.get_span_context()
    spans = {one.span_id: one for one in receiver.spans if one.trace_id == own.trace_id.to_bytes(16, "big")}
    asked = [one for one in spans.values() if one.name == "embed text"]
    assert len(asked) == 2
    for one in asked:
        call = spans[one.parent_span_id]
        assert call.parent_span_id == own.span_id.to_bytes(8, "big")
        assert call.start_time_unix_nano <= one.start_time_unix_nano
        assert one.end_time_unix_nano <= call.end_time_unix_nano


class Telling(InMemoryTransport):
    """An engine whose towers say how long each stage took."""

    def send(self, call: Call) -> bytes:
        answer = EmbedResponse.FromString(super().send(call))
        if EmbedRequest.FromString(call.body).stages:
            answer.stages.add(name="parse", seconds=1e-6)
            answer.stages.add(name="forward", seconds=2e-6)
        return answer.SerializeToString()


def test_the_stages_of_a_tower_are_spans(
    receiver: Receiver, traces: Callable[[], None], tmp_path: Path
) -> None:
    """A slow call shows whether it waited, or what the tower did so long; all within the question to it."""
    with gateway(Engine(Telling()), tmp_path) as front:
        traced(front, "HTTP")
    traces()
    spans = [one for one in receiver.spans if one.trace_id.hex() == TRACE]
    for tower in ("text", "vision"):
        (question,) = [one for one in spans if one.name == f"embed {tower}"]
        stages = [one for one in spans if one.parent_span_id == question.span_id]
        stages.sort(key=lambda one: one.end_time_unix_nano)
        assert [one.name for one in stages] == ["wait", "parse", "forward"]
        assert stages[1].end_time_unix_nano - stages[1].start_time_unix_nano == 1000
        assert question.start_time_unix_nano <= stages[0].start_time_unix_nano
        assert stages[-1].end_time_unix_nano <= question.end_time_unix_nano
        for before, after in itertools.pairwise(stages):
            assert before.end_time_unix_nano == after.start_time_unix_nano


def test_a_tower_of_before_tells_no_stages(
    receiver: Receiver, traces: Callable[[], None], tmp_path: Path
) -> None:
    """An archive that was exported by an earlier version answers as ever; its question has no parts."""
    with gateway(Engine(), tmp_path) as front:
        traced(front, "gRPC")
    traces()
    assert {one.name for one in receiver.spans if one.trace_id.hex() == TRACE} == {
        "Embed",
        "embed text",
        "embed vision",
    }


def test_a_failure_of_ours_is_an_error_of_its_span(
    receiver: Receiver, traces: Callable[[], None], tmp_path: Path
) -> None:
    """A collector keeps the traces of what failed; the mistakes of callers are none of them."""
    engine = Engine()
    with gateway(engine, tmp_path) as front:
        assert front.post(json={"input": [{"image": "*"}]}).status_code == 400
        engine.fail_with(Unavailable("away"))
        assert front.post(json={"input": "a"}).status_code == 503
    traces()
    calls = [one for one in receiver.spans if one.name == "/v1/embeddings"]
    failed = {
        attribute.value.string_value: one.status.code == Status.STATUS_CODE_ERROR
        for one in calls
        for attribute in one.attributes
        if attribute.key == "babelclip.status"
    }
    assert failed == {"400": False, "503": True}


@pytest.mark.usefixtures("traces")
def test_a_measured_call_leads_to_its_trace(tmp_path: Path) -> None:
    """A slow bucket names a trace to look at, for one process and for what shows several at one address."""
    with gateway(Engine(), tmp_path) as front:
        traced(front, "HTTP")
        server = MetricsServer(merged(lambda: {0: front.addresses.metrics}), 0)
        try:
            for address in (front.addresses.metrics, server.address):
                found: list[dict[str, str]] = []

                def seen(address: str = address, found: list[dict[str, str]] = found) -> bool:
                    text = httpx.get(address, headers={"accept": CONTENT_TYPE_LATEST}).text
                    found[:] = [
                        sample.exemplar.labels
                        for family in text_string_to_metric_families(text)
                        for sample in family.samples
                        if sample.exemplar is not None
                    ]
                    return bool(found)

                eventually(seen)
                assert found == [{"trace_id": TRACE}]
        finally:
            server.close()


def test_nothing_of_it_is_imported_when_it_is_off() -> None:
    """Who has no traces needs no package for them, and pays nothing."""
    script = (
        "import sys, gateway.__main__\n"
        "from gateway import tracing\n"
        "tracing.start({'OTEL_SERVICE_NAME': 'x'})()\n"
        "with tracing.call_span('a'), tracing.tower_span('text', 1, ''): pass\n"
        "sys.exit(any(name.startswith('opentelemetry') for name in sys.modules))"
    )
    path = f"{REPOSITORY}:{REPOSITORY / 'clients'}"
    assert (
        subprocess.run([sys.executable, "-c", script], env={"PYTHONPATH": path}, check=False).returncode == 0
    )

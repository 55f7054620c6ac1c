"""What a client can be told beside the address, from hedging to certificates; and streams."""

from __future__ import annotations

import json
import os
import ssl
import threading
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import numpy as np
import pytest
import trustme
from opentelemetry import trace
from opentelemetry.trace import NonRecordingSpan, SpanContext, TraceFlags
from prometheus_client import CollectorRegistry

from babelclip import Backoff, Call, Client, ItemErrors, SpaceMismatch, Tls, Unavailable
from babelclip.metrics import ClientMetrics
from babelclip.testing import InMemoryTransport
from babelclip.tracing import trace_headers
from tests.clients.fake_server import FakeServer, grpc_server, http_server, vector_of
from tests.clients.in_memory import InMemory

QUICK = Backoff(attempts=3, base=0.01)


def test_a_stream_reads_only_so_far_ahead() -> None:
    """Texts without end are embedded in order, and read only as fast as their vectors are taken."""
    taken = 0

    def lines() -> Iterator[str]:
        nonlocal taken
        while True:
            taken += 1
            yield "" if taken == 300 else f"text {taken}"

    transport = InMemoryTransport(failing={"": ("empty_item", "it is empty")})
    with Client("", transport=transport, concurrency=2) as client:
        stream = client.stream_texts(lines())
        first, second = next(stream), next(stream)
        stream.close()
    assert taken <= 8 * 256 + 1
    np.testing.assert_array_equal(first.vectors[0], transport.vector("text 1"))
    np.testing.assert_array_equal(second.vectors[-1], transport.vector("text 512"))
    assert [error.index for error in second.errors] == [300 - 1 - 256]


def test_a_call_may_have_a_timeout_of_its_own() -> None:
    """What is more urgent than the rest is asked over the same connections, in the same space."""
    seen: list[tuple[float, str | None]] = []

    class Noting(InMemoryTransport):
        def send(self, call: Call) -> bytes:
            seen.append((round(call.timeout), call.version))
            return super().send(call)

    with Client("", transport=Noting(), timeout=20) as client:
        first = client.embed_texts(["a"])
        urgent = client.with_options(timeout=3)
        assert urgent.embed_texts(["b"]).space == first.space == urgent.space
        client.embed_texts(map(str, range(600)))
        urgent.embed_texts(map(str, range(600)))
        with pytest.raises(ValueError, match="timeout"):
            client.with_options(timeout=0)
    assert seen == [(20, None), (3, "1.0"), *[(20, "1.0")] * 3, *[(3, "1.0")] * 3]


def test_progress_counts_items_that_are_done() -> None:
    """A bar can be drawn for one large call; failed items are done, too."""
    seen: list[int] = []
    with Client("", transport=InMemoryTransport(failing={"": ("empty_item", "")})) as client:
        client.embed_texts(["", *map(str, range(599))], errors="return", progress=seen.append)
    assert seen == [256, 512, 600]


def test_messages_of_one_call_are_under_way_together() -> None:
    """The server has the next message before it has answered the last one, and no more than was asked for."""

    class Meeting(InMemoryTransport):
        def __init__(self) -> None:
            super().__init__()
            self.all_here = threading.Barrier(3)

        def send(self, call: Call) -> bytes:
            self.all_here.wait(30)  # Fails unless three calls are here at a time.
            return super().send(call)

    transport = Meeting()
    with Client("", transport=transport, concurrency=3) as client:
        found = client.embed_texts(map(str, range(6 * 256)))
    np.testing.assert_array_equal(found.vectors[1500], transport.vector("1500"))


def test_an_answer_that_comes_last_does_not_hold_up_the_next_messages() -> None:
    """While the first message is computed, others leave one after the other; the order of results is kept."""

    class LastFirst(InMemoryTransport):
        def __init__(self) -> None:
            super().__init__()
            self.others = threading.Semaphore(0)

        def send(self, call: Call) -> bytes:
            answer = super().send(call)
            if b"text 0" in call.body:
                for _ in range(3):
                    assert self.others.acquire(timeout=30)
            else:
                self.others.release()
            return answer

    transport = LastFirst()
    with Client("", transport=transport, concurrency=2) as client:
        found = client.embed_texts(f"text {number}" for number in range(5 * 256))
    np.testing.assert_array_equal(found.vectors[0], transport.vector("text 0"))
    np.testing.assert_array_equal(found.vectors[-1], transport.vector("text 1279"))


def test_a_failed_message_ends_the_call() -> None:
    """Of several messages one gets no answer: the call raises, and the client can be used and closed."""

    class Failing(InMemoryTransport):
        def send(self, call: Call) -> bytes:
            if b"text 300" in call.body:
                raise Unavailable("the worker died", retryable=False)
            return super().send(call)

    with Client("", transport=Failing()) as client:
        with pytest.raises(Unavailable, match="the worker died"):
            client.embed_texts(f"text {number}" for number in range(2000))
        assert len(client.embed_texts(["a"])) == 1


def test_only_items_without_a_turn_are_sent_again() -> None:
    """What a busy server has embedded is not embedded twice, and its errors are not asked for again."""
    server = InMemory()
    server.busy.extend([b"b", b"c", b"c"])
    with Client("", transport=server, backoff=QUICK) as client, pytest.raises(ItemErrors) as caught:
        client.embed_images([b"a", b"b", b"broken", b"c"])
    assert [(error.index, error.code) for error in caught.value.errors] == [(2, "image_undecodable")]
    np.testing.assert_array_equal(caught.value.embeddings[3], vector_of(b"c"))
    sent = [list(request.images) for _, _, request in server.fake.requests]
    assert sent == [[b"a", b"b", b"broken", b"c"], [b"b", b"c"], [b"c"]]


class Slow(InMemoryTransport):
    """The first call waits until the test is over; `errors` are raised by the next ones."""

    def __init__(self, *errors: Exception) -> None:
        super().__init__()
        self.released = threading.Event()
        self.errors = list(errors)

    def send(self, call: Call) -> bytes:
        answer = super().send(call)
        if len(self.calls) == 1:
            self.released.wait(30)
        elif self.errors:
            raise self.errors.pop(0)
        return answer


def test_a_hedged_message_takes_the_first_answer() -> None:
    """One attempt that hangs costs the time after which another is made."""
    transport = Slow()
    with Client("", transport=transport, hedge_after=0.01) as client:
        np.testing.assert_array_equal(client.embed_texts(["a"]).vectors[0], transport.vector("a"))
    assert len(transport.calls) == 2
    transport.released.set()


def test_a_hedge_has_the_time_that_is_left() -> None:
    """A message that is sent a second time is given up when it would have been without."""
    transport = Slow()
    with Client("", transport=transport, hedge_after=0.01, timeout=5) as client:
        client.embed_texts(["a"])
    transport.released.set()
    assert [call.timeout for call in transport.calls] == [5, 4.99]


def test_a_hedge_that_fails_waits_for_the_other() -> None:
    """The second attempt was refused: the first one's answer still counts."""
    transport = Slow(Unavailable("busy"))
    threading.Timer(0.05, transport.released.set).start()
    with Client("", transport=transport, hedge_after=0.01) as client:
        assert client.embed_texts(["a"]).ok.all()
    assert len(transport.calls) == 2


def test_headers_travel_with_every_call(server: FakeServer) -> None:
    """A proxy's routing header reaches it over both protocols, asked for anew with each call."""
    counted = iter(range(10))
    with Client(server.url, headers=lambda: {"X-Tenant": f"shop-{next(counted)}"}) as client:
        client.embed_texts(["a"])
        client.embed_images([b"b"])
    assert [sent["x-tenant"] for sent in server.metadata] == ["shop-0", "shop-1"]


def test_the_version_stands_where_a_proxy_can_read_it(server: FakeServer) -> None:
    """A proxy before several versions sends a client to the one that it has settled on, by HTTP and gRPC."""
    server.default = "1.0"
    with Client(server.url) as client:
        client.embed_texts(["a"])
        client.embed_images([b"b"])
        server.versions, server.default = {"2.0"}, "2.0"
        client.embed_texts(["c"])  # of the version that took its place, in the same space
        client.embed_texts(["d"])
    found = [sent.get("babelclip-version") for sent in server.metadata]
    assert found == [None, "1.0", "1.0", None, "2.0"]


@pytest.mark.parametrize(
    "headers",
    [
        {"Authorization": "x"},
        {"Babelclip-Version": "1"},
        {"a b": "x"},
        {"": "x"},
        {"x": "line\nbreak"},
        {"x": "ключ"},
        {"x": "y" * 6000},
    ],
)
def test_impossible_headers_are_refused_at_once(headers: dict[str, str]) -> None:
    """A header cannot replace the token or smuggle another one."""
    with pytest.raises(ValueError, match="header"):
        Client("http://127.0.0.1:9", headers=headers)


def test_the_trace_context_travels(server: FakeServer) -> None:
    """A request belongs to the span its call was made in, also where the client's own threads send it."""
    context = SpanContext(0xABCDEF, 0x1234, is_remote=False, trace_flags=TraceFlags(1))
    with Client(server.url, headers=trace_headers) as client:
        with trace.use_span(NonRecordingSpan(context)):
            client.embed_texts(map(str, range(600)))
        client.embed_texts(["outside"])
    found = [sent.get("traceparent") for sent in server.metadata]
    assert found == [f"00-{0xABCDEF:032x}-{0x1234:016x}-01"] * 3 + [None]


def test_metrics_tell_requests_and_items(web: FakeServer) -> None:
    """An operator of the calling service sees retries, failures by kind and items by outcome."""
    registry = CollectorRegistry()
    web.failures.extend(["no_worker", "worker_died"])
    with Client(web.url, backoff=QUICK, metrics=ClientMetrics(registry)) as client:
        with pytest.raises(Unavailable):
            client.embed_images([b"x"])
        client.embed_texts(["a", "", "b"], errors="return")

    def value(name: str, **labels: str) -> float | None:
        return registry.get_sample_value(f"babelclip_client_{name}", labels)

    assert value("requests_total", tower="vision", outcome="Unavailable") == 2
    assert value("requests_total", tower="text", outcome="ok") == 1
    assert value("items_total", tower="text", outcome="ok") == 2
    assert value("items_total", tower="text", outcome="empty_item") == 1
    assert value("request_seconds_count", tower="vision") == 2
    assert value("requests_in_flight", tower="text") == 0


def test_a_second_set_of_metrics_says_what_to_do() -> None:
    """A reloaded module or a notebook's cell makes them twice; the names of series would not help."""
    registry = CollectorRegistry()
    ClientMetrics(registry)
    with pytest.raises(ValueError, match="one ClientMetrics serves any number of clients"):
        ClientMetrics(registry)


def test_a_key_is_read_again_before_it_expires(web: FakeServer, tmp_path: Path) -> None:
    """A key that an operator renews in time costs no caller a refusal."""
    keys = tmp_path / "key_file.json"

    def write(key: str, expires: timedelta) -> None:
        moment = (datetime.now(UTC) + expires).isoformat().replace("+00:00", "123Z")  # Java has nine digits.
        keys.write_text(json.dumps({"inference": {"key": key, "expiration time": moment}}))

    write("first", timedelta(seconds=30))
    web.token = "first"
    with Client(web.url, token_file=keys) as client:
        client.embed_texts(["a"])
        write("second", timedelta(minutes=60))
        client.embed_texts(["b"])
        web.token = "second"
        client._session.credentials._looked = float("-inf")  # As if the five seconds had passed.
        client.embed_texts(["c"])
        keys.unlink()
        client.embed_texts(["d"])
    sent = [one["authorization"] for one in web.metadata]
    assert sent == ["Bearer first", "Bearer first", "Bearer second", "Bearer second"]


# Newer Pythons warn of what this does on purpose.
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
def test_a_forked_child_has_connections_of_its_own(web: FakeServer) -> None:
    """A client made before a fork, as in a pre-forking web server, works in parent and child at once."""
    with Client(web.url) as client:
        client.embed_texts(["before"])
        reading, writing = os.pipe()
        with client._session._lock:  # As a thread of the parent may hold it at the moment of the fork.
            child = os.fork()
            if child == 0:
                status = 1
                try:
                    os.write(writing, client.embed_texts(["in the child"]).vectors.tobytes())
                    status = 0
                finally:
                    os._exit(status)
        assert client.embed_texts(["in the parent"]).ok.all()
        assert os.waitpid(child, 0)[1] == 0
        found = np.frombuffer(os.read(reading, 4096), np.float32)
        np.testing.assert_array_equal(found, vector_of(b"in the child"))
        os.close(reading)
        os.close(writing)


@pytest.fixture(scope="module")
def authority() -> trustme.CA:
    """A certificate authority that no system trusts."""
    return trustme.CA()


@pytest.fixture(params=["https", "grpcs"])
def secure(request: pytest.FixtureRequest, authority: trustme.CA) -> Iterator[FakeServer]:
    """A server that shows a certificate of `authority`, and asks for one of it."""
    shown = authority.issue_cert("127.0.0.1")
    if request.param == "https":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        shown.configure_cert(context)
        authority.configure_trust(context)
        context.verify_mode = ssl.CERT_REQUIRED
        fake = http_server(context)
    else:
        key, chain = shown.private_key_pem.bytes(), b"".join(p.bytes() for p in shown.cert_chain_pems)
        root = authority.cert_pem.bytes()
        fake = grpc_server(grpc.ssl_server_credentials([(key, chain)], root, require_client_auth=True))
    yield fake
    fake.close()


def test_certificates_of_ones_own(secure: FakeServer, authority: trustme.CA, tmp_path: Path) -> None:
    """A company's own authority is trusted when it is named, and a server that asks gets the client's."""
    ca, certificate, key = (tmp_path / name for name in ("ca.pem", "client.pem", "client.key"))
    authority.cert_pem.write_to_path(str(ca))
    mine = authority.issue_cert("client.example")
    mine.cert_chain_pems[0].write_to_path(str(certificate))
    mine.private_key_pem.write_to_path(str(key))
    with Client(secure.url, tls=Tls(ca_file=ca, certificate_file=certificate, key_file=key)) as client:
        np.testing.assert_array_equal(client.embed_texts(["a"]).vectors[0], vector_of(b"a"))
    for tls in (None, Tls(ca_file=ca)):
        with Client(secure.url, tls=tls, backoff=QUICK, timeout=5) as client, pytest.raises(Unavailable):
            client.embed_texts(["a"])


def test_wrong_certificates_are_named(tmp_path: Path) -> None:
    """Files that are missing, half a pair, or no certificates fail where the client is made."""
    (tmp_path / "none.pem").write_text("no certificate")
    with pytest.raises(ValueError, match="both certificate_file and key_file"):
        Tls(certificate_file=tmp_path / "none.pem")
    with pytest.raises(ValueError, match=r"no file .*missing\.pem"):
        Tls(ca_file=tmp_path / "missing.pem")
    with pytest.raises(ValueError, match="certificates cannot be used"):
        Client("https://127.0.0.1:9", tls=Tls(ca_file=tmp_path / "none.pem"))
    with pytest.raises(ValueError, match="has no TLS"):
        Client("http://127.0.0.1:9", tls=Tls(ca_file=tmp_path / "none.pem"))


def test_the_server_in_memory_is_like_a_real_one() -> None:
    """A user's test sees the errors, the space check and the vectors that it orders."""
    transport = InMemoryTransport(vectors={"a": [3.0, 4.0]}, failing={b"x": ("broken", "why")}, dim=2)
    with Client("", transport=transport) as client:
        np.testing.assert_allclose(client.embed_texts(["a"]).vectors, [[0.6, 0.8]])
        assert client.embed_images([b"x"], errors="return").errors[0].code == "broken"
        assert client.health() == client.space == "in-memory"
        assert client.version == "1.0"
    with Client("", transport=transport, space="other") as client, pytest.raises(SpaceMismatch):
        client.embed_texts(["a"])
    assert len(transport.calls) == 5

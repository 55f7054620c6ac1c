"""Calls that need no key, and callers who only open them: the gateway changes and ends all the same."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from babelclip import Unavailable
from gateway.rpc import open_streams
from tests.e2e.support import PATIENCE
from tests.gateway import frames
from tests.gateway.engine import Engine
from tests.gateway.front import Front, gateway

SERVING, NOT_SERVING = health_pb2.HealthCheckResponse.SERVING, health_pb2.HealthCheckResponse.NOT_SERVING
WATCH = b"/grpc.health.v1.Health/Watch"


@contextmanager
def stub(front: Front) -> Iterator[Any]:
    """The health service."""
    with grpc.insecure_channel(front.addresses.grpc.removeprefix("grpc://")) as channel:
        yield health_pb2_grpc.HealthStub(channel)


def test_one_who_watches_and_does_not_read_holds_nobody_up(tmp_path: Path) -> None:
    """Without a byte taken of what it is told, others see each change of state, and the gateway stops."""
    engine = Engine()
    with ExitStack() as left, gateway(engine, tmp_path, probe_seconds=0.05) as front:
        connection = left.enter_context(frames.opened(front.addresses.grpc, PATIENCE))
        # A window of 0 bytes: no message can be sent to it.
        connection.sendall(frames.frame(frames.SETTINGS, payload=b"\0\4\0\0\0\0"))
        head = frames.frame(frames.HEADERS, frames.END_HEADERS, 1, frames.call_headers(path=WATCH))
        connection.sendall(head + frames.frame(frames.DATA, frames.END_STREAM, 1, b"\0\0\0\0\0"))
        with stub(front) as health:
            watched = health.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE)
            assert SERVING in (answer.status for answer in watched)
            engine.fail_with(Unavailable("no worker"))
            assert NOT_SERVING in (answer.status for answer in watched)
            engine.before = lambda call: None
            assert SERVING in (answer.status for answer in watched)
            stopping = threading.Thread(target=front.stop)
            stopping.start()
            stopping.join()
            assert NOT_SERVING in (answer.status for answer in watched)
            assert list(watched) == []  # The stream has ended, so it keeps no process.
        connection.close()


def test_streams_without_a_key_have_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is opened beyond it is refused, calls with a key go on, and there is room again after."""
    monkeypatch.setattr(open_streams.OpenStreams.__init__, "__defaults__", (2,))
    with gateway(Engine(), tmp_path) as front, stub(front) as health:
        held = [health.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE) for _ in range(2)]
        for watch in held:
            next(watch)
        with pytest.raises(grpc.RpcError) as caught:
            next(health.Watch(health_pb2.HealthCheckRequest(), timeout=PATIENCE))
        assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
        with grpc.insecure_channel(front.addresses.grpc.removeprefix("grpc://")) as channel:
            reflect = reflection_pb2_grpc.ServerReflectionStub(channel).ServerReflectionInfo
            asked = [reflection_pb2.ServerReflectionRequest(list_services="")]
            with pytest.raises(grpc.RpcError) as caught:
                list(reflect(iter(asked), timeout=PATIENCE))
            assert caught.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
            assert health.Check(health_pb2.HealthCheckRequest(), timeout=PATIENCE).status in (
                SERVING,
                NOT_SERVING,
            )
            assert front.post(json={"input": "a"}).status_code == 200
            held[0].cancel()
            answers: list[Any] = []
            while not answers:  # The server learns of it a little later.
                with suppress(grpc.RpcError):
                    answers = list(reflect(iter(asked), timeout=PATIENCE))
            assert len(answers) == 1


def test_health_knows_its_services(tmp_path: Path) -> None:
    """A service that there is not is NOT_FOUND, and unknown to who watches it."""
    with gateway(Engine(), tmp_path) as front, stub(front) as health:
        with pytest.raises(grpc.RpcError) as caught:
            health.Check(health_pb2.HealthCheckRequest(service="none"), timeout=PATIENCE)
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND
        watch = health.Watch(health_pb2.HealthCheckRequest(service="none"), timeout=PATIENCE)
        assert next(watch).status == health_pb2.HealthCheckResponse.SERVICE_UNKNOWN
        watch.cancel()

"""The gRPC server: the service, keys before every call of it, health and reflection."""

from __future__ import annotations

import asyncio
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from typing import TYPE_CHECKING, Any

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2_grpc
from grpc_reflection.v1alpha import reflection

from babelclip.keys.entries import Scope
from gateway import request_log, tracing
from gateway.access.account import ACCOUNT, Account
from gateway.access.control import AccessControl
from gateway.collections.service import Collections
from gateway.errors import ApiError
from gateway.metrics import Metrics
from gateway.models import Models
from gateway.rpc import collections_pb2, embedder_pb2, predictions
from gateway.rpc.collections import SERVICE as KEPT
from gateway.rpc.collections import CollectionCalls
from gateway.rpc.health import Health
from gateway.rpc.malformed import refusing_malformed
from gateway.rpc.open_streams import OpenStreams
from gateway.rpc.relay import Relay, tls_context
from gateway.rpc.scores import ScoreCalls
from gateway.rpc.service import CALLER, SERVICE, Embedder
from gateway.rpc.session import Session
from gateway.rpc.status import Context, abort, code_of
from gateway.scoring.scorer import Scorer
from gateway.settings import Settings

if TYPE_CHECKING:
    _Handler = grpc.RpcMethodHandler[Any, Any]  # a class without parameters when it runs


# Which scope a call needs; None is any key's. What is not there is the operator's alone.
SCOPES: Mapping[str, Scope | None] = {
    "Embed": "embed",
    "EmbedStream": "embed",
    "Predictions": "embed",
    "Similarity": "search",
    "Classify": "search",
    "Rerank": "search",
    "Models": None,
    **dict.fromkeys(("List", "ListItems", "Get", "Search", "Similar", "ListJobs", "GetJob"), "search"),
    **dict.fromkeys(("Create", "Delete", "AddItems", "DeleteItems", "StartJob", "CancelJob"), "write"),
}
OTHERWISE: Scope = "admin"
FAREWELL = 1.0
"""Seconds in which those who watch the state may take that it is the last, before their streams are ended."""
MOST_STREAMS = 256
"""Calls of one connection at a time."""


class RpcServer:
    """Listens from `start` to `stop`.

    Args:
        access: whom it lets in; None lets everybody in.
        collections: those that it serves; None for none.

    Raises:
        OSError: a file of the TLS settings, or a calibration, cannot be read.
        ValueError: a file is no calibration.
    """

    def __init__(
        self,
        models: Models,
        settings: Settings,
        access: AccessControl | None,
        metrics: Metrics,
        collections: Collections | None = None,
    ) -> None:
        self._host, self._port = settings.host, settings.grpc_port
        self._shared_port = settings.workers > 1
        tls = tls_context(settings.tls_certificate, settings.tls_key) if settings.tls_certificate else None
        self._scheme = "grpc" if tls is None else "grpcs"
        self._relay = Relay(tls)
        self._folder = ""
        self._open_streams = OpenStreams(_Guard.OPEN)
        self._server = grpc.aio.server(
            interceptors=[
                _Identify(),
                self._open_streams,
                *([] if access is None else [_Guard(access, metrics)]),
                Session(),
            ],
            options=(
                ("grpc.max_receive_message_length", settings.max_body_bytes),
                ("grpc.max_send_message_length", -1),
                # Each costs memory before its key is known; a caller with more waits for its own.
                ("grpc.max_concurrent_streams", MOST_STREAMS),
                ("grpc.keepalive_permit_without_calls", 1),
                ("grpc.http2.min_ping_interval_without_data_ms", 10_000),
                # A call that is under way is finished on the old connection, however long it takes.
                *_age(settings.grpc_connection_seconds),
            ),
        )
        calls = {
            **Embedder(models, settings.max_items, metrics).handlers(),
            **ScoreCalls(models, Scorer(settings, metrics), metrics).handlers(),
        }
        handlers = refusing_malformed(calls, metrics)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(SERVICE, handlers),))
        towers = refusing_malformed(
            predictions.Predictions(models, settings.max_items, metrics).handlers(), metrics
        )
        self._server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler(predictions.SERVICE, towers),)
        )
        described = [embedder_pb2.DESCRIPTOR.services_by_name["Embedder"].full_name]
        if collections is not None:
            kept = CollectionCalls(collections, settings.max_items, metrics).handlers()
            described.append(collections_pb2.DESCRIPTOR.services_by_name["Collections"].full_name)
            self._server.add_generic_rpc_handlers(
                (grpc.method_handlers_generic_handler(KEPT, refusing_malformed(kept, metrics)),)
            )
        self._health = Health(("", SERVICE))
        health_pb2_grpc.add_HealthServicer_to_server(self._health, self._server)
        reflection.enable_server_reflection(
            (*described, health.SERVICE_NAME, reflection.SERVICE_NAME), self._server
        )

    async def start(self) -> str:
        """Listen → the address, grpc://HOST:PORT, or grpcs:// with TLS.

        Raises:
            OSError: the port is taken or may not be; the message names it.
        """
        self._folder = tempfile.mkdtemp(prefix="grpc-")
        path = f"{self._folder}/socket"
        self._server.add_insecure_port(f"unix:{path}")
        await self._server.start()
        try:
            # Two gateways on a port would share its calls without anybody knowing.
            port = await self._relay.start(path, self._host, self._port, shared=self._shared_port)
        except OSError as error:
            await self.stop(0)
            raise OSError(f"cannot listen on {self._host} port {self._port} for gRPC") from error
        host = f"[{self._host}]" if ":" in self._host else self._host
        return f"{self._scheme}://{host}:{port}"

    def tell(self, *, ready: bool) -> None:
        """What the health service says from now on, of the server and of the service."""
        self._health.set(ready=ready)

    async def stop(self, grace: float) -> None:
        """Take no more calls, and give those under way `grace` seconds."""
        self._relay.close()
        self._health.end()
        stopping = asyncio.ensure_future(self._server.stop(grace))
        await asyncio.wait((stopping,), timeout=min(grace, FAREWELL))
        self._open_streams.end()
        await stopping
        self._relay.stop()
        if self._folder:
            shutil.rmtree(self._folder, ignore_errors=True)


class _Identify(grpc.aio.ServerInterceptor):
    """Takes over each call's id and trace, or gives it an id of its own."""

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler | None:
        """The call's own handler."""
        given = dict(handler_call_details.invocation_metadata or ())
        request_log.REQUEST_ID.set(request_log.take_id(str(given.get(request_log.HEADER, ""))))
        if tracing.is_on():
            tracing.PARENT.set({name: str(given[name]) for name in tracing.HEADERS if name in given})
        return await continuation(handler_call_details)


class _Guard(grpc.aio.ServerInterceptor):
    """Lets nobody without a key call the service; whatever else is served beside it is open by name."""

    OPEN = (f"/{health.SERVICE_NAME}/", f"/{reflection.SERVICE_NAME}/")

    def __init__(self, access: AccessControl, metrics: Metrics) -> None:
        self._access = access
        self._metrics = metrics

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[_Handler | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> _Handler | None:
        """The call's own handler, or one that refuses it."""
        method = handler_call_details.method
        if method.startswith(self.OPEN):
            return await continuation(handler_call_details)
        shown = str(dict(handler_call_details.invocation_metadata or ()).get("authorization", ""))
        name = ""
        try:
            account = self._access.account(shown, "the metadata authorization: Bearer KEY")
            name = account.name
            handler = await continuation(handler_call_details)
            if handler is not None:  # Else there is no such call, which gRPC says itself.
                account.require(SCOPES.get(method.rpartition("/")[2], OTHERWISE))
            account.enter()
        except ApiError as error:
            return self._refusing(error, name)
        CALLER.set(name)
        ACCOUNT.set(account)
        return handler if handler is None or not account.limited else _counted(handler, account)

    def _refusing(self, error: ApiError, name: str) -> _Handler:
        async def refuse(requests: Any, context: Context) -> AsyncIterator[bytes]:
            with self._metrics.call("refused", left=code_of(error).name) as observed:
                observed.key = name
                await abort(context, error)
            yield b""

        # A stream whatever the call is: the refusal does not wait for a request.
        return grpc.stream_stream_rpc_method_handler(refuse)


def _counted(handler: _Handler, account: Account) -> _Handler:
    """The same call, whose requests count by their bytes."""
    deserialize = handler.request_deserializer
    assert deserialize is not None

    def counting(data: bytes) -> Any:
        account.received(len(data))
        return deserialize(data)

    kinds: dict[tuple[bool, bool], Any] = {
        (False, False): (grpc.unary_unary_rpc_method_handler, handler.unary_unary),
        (False, True): (grpc.unary_stream_rpc_method_handler, handler.unary_stream),
        (True, False): (grpc.stream_unary_rpc_method_handler, handler.stream_unary),
        (True, True): (grpc.stream_stream_rpc_method_handler, handler.stream_stream),
    }
    make, behaviour = kinds[handler.request_streaming, handler.response_streaming]
    made: _Handler = make(behaviour, counting, handler.response_serializer)
    return made


def _age(seconds: float) -> tuple[tuple[str, int], ...]:
    return (("grpc.max_connection_age_ms", int(seconds * 1000)),) if seconds else ()

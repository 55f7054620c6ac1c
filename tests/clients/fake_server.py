"""A small babelclip server for tests: TorchServe's addresses, failures and wire format around hashed vectors.

The sentences, statuses and Java names of its failures are those of TorchServe 0.12.
"""

from __future__ import annotations

import hashlib
import json
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import numpy as np

from babelclip.embedding_pb2 import EmbedRequest, EmbedResponse
from babelclip.transports.torchserve import INFERENCE
from babelclip.transports.torchserve_pb2 import PredictionResponse, PredictionsRequest

SPACE = "0123456789abcdef"
DIM = 16
PROTOBUF = "application/x-protobuf"

NO_WORKER = (
    'Model "text" has no worker to serve inference request. Please use scale workers API to add workers.'
)
BAD_TOKEN = "Token Authorization failed. Token either incorrect, expired, or not provided correctly"


def vector_of(item: bytes) -> np.ndarray:
    """float32 [DIM] of length 1 that depends on the bytes alone."""
    digest = hashlib.sha256(item).digest()[:DIM]
    values = np.frombuffer(digest, dtype=np.uint8).astype(np.float32) - 127.5
    return (values / np.linalg.norm(values)).astype(np.float32)


class FakeServer:
    """What both protocols share: the towers, the token, and the failures that a test has ordered.

    `failures` holds what happens to the next requests, one each: "no_worker", "limited", "worker_died",
    "worker_killed", "too_large", "crashed", "garbage", "empty", "refused", "overloaded" or "stall" (until the
    server is closed).
    """

    def __init__(self) -> None:
        self.space = SPACE
        self.dim = DIM
        self.sick = ""  # the tower that fails its canary
        self.token: str | None = None
        self.versions = {"1.0", "2.0"}
        self.default = ""  # the version that answers where none is asked for; "": it says none
        self.spaces: dict[str, str] = {}  # by version, where they differ
        self.metadata: list[dict[str, str]] = []  # headers of the requests that came
        self.failures: deque[str] = deque()
        self.largest_body = 1 << 40  # bytes of an EmbedRequest above which it is refused unread
        self.requests: list[tuple[str, str | None, EmbedRequest]] = []
        self.seconds_per_item = 0.0  # a tower that embeds one item after the other
        self.keeps_time = True  # it ends in time for its callers; a server of an earlier version does not
        self.hanging: set[bytes] = set()  # items that have no answer until the server is closed
        self.embedded: list[bytes] = []  # what such a tower has embedded, whoever waited for it
        self._tower = threading.Lock()
        self.released = threading.Event()
        self.url = ""
        self.stop: Callable[[], object] = lambda: None

    def embed(self, model: str, version: str | None, body: bytes) -> bytes:
        """One tower's answer; an item that begins with b"broken" fails, a text over 1,000 bytes is cut.

        One that begins with b"unknown" is unknown.
        """
        request = EmbedRequest.FromString(body)
        self.requests.append((model, version, request))
        response = EmbedResponse()
        answering = version or self.default
        space = self.spaces.get(answering, self.space)
        response.version = answering if self.default else ""
        if request.space and request.space != space:
            response.error.code = "space_mismatch"
            response.error.message = f"this tower serves the space {space}, not {request.space}"
            return response.SerializeToString()
        if request.canary and self.sick == model:
            response.error.code, response.error.message = "canary_mismatch", "another vector than it must be"
            return response.SerializeToString()
        response.space, response.dim, response.logit_scale = space, self.dim, 20.0
        if request.canary:
            response.vectors = vector_of(b"canary")[: self.dim].astype("<f4").tobytes()
            return response.SerializeToString()
        items = list(request.texts or request.images)
        reached = self._work(items, request.timeout_ms) if self.seconds_per_item else len(items)
        rows = []
        for index, item in enumerate(items):
            if index >= reached:
                response.errors.add(index=index, code="overloaded", message="no time was left for it")
                rows.append(np.zeros(self.dim, np.float32))
                continue
            if not item or item.startswith(b"broken"):
                code = "image_undecodable" if request.images else "empty_item"
                response.errors.add(index=index, code=code, message="it is broken")
                rows.append(np.zeros(self.dim, np.float32))
                continue
            if request.texts and len(item) > 1000:
                response.truncated.append(index)
            if request.texts and item.startswith(b"unknown"):
                response.unknown.append(index)
            rows.append(vector_of(item)[: self.dim])
        response.tokens.extend([len(item) for item in request.texts])
        response.vectors = np.concatenate(rows).astype("<f4").tobytes()
        return response.SerializeToString()

    def _work(self, items: list[bytes], timeout_ms: int) -> int:
        """Takes its time, one request after the other → how many items were reached, at least one."""
        with self._tower:
            began = time.monotonic()
            for index, item in enumerate(items):
                late = timeout_ms and time.monotonic() - began > 0.4 * timeout_ms / 1000
                if index and late and self.keeps_time:
                    return index
                if item in self.hanging:
                    self.released.wait(600)
                self.released.wait(self.seconds_per_item)
                self.embedded.append(item)
        return len(items)

    def next_failure(self) -> str | None:
        """The failure ordered for this request, if any."""
        failure = self.failures.popleft() if self.failures else None
        if failure == "stall":
            self.released.wait(30)
        return failure

    def close(self) -> None:
        """Ends stalled requests and stops listening."""
        self.released.set()
        self.stop()


def _payload(failure: str | None, answer: Callable[[], bytes]) -> bytes:
    if failure == "garbage":
        return b"\xff\xff\xff"
    if failure == "empty":
        return b""
    if failure == "overloaded":
        response = EmbedResponse()
        response.error.code, response.error.message = "overloaded", "try later"
        return response.SerializeToString()
    if failure == "refused":
        response = EmbedResponse()
        response.error.code, response.error.message = "too_many_items", "300 items; at most 256 are allowed"
        return response.SerializeToString()
    return answer()


def http_server(tls: ssl.SSLContext | None = None) -> FakeServer:
    """A FakeServer that answers HTTP, or HTTPS with `tls`."""
    fake = FakeServer()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            _, root, model, *rest = self.path.split("/")
            version = rest[0] if rest else None
            fake.metadata.append({name.lower(): value for name, value in self.headers.items()})
            failure = fake.next_failure()
            if fake.token and self.headers.get("authorization") != f"Bearer {fake.token}":
                self._fail(400, "InvalidKeyException", BAD_TOKEN)
            elif root != "predictions" or model not in ("text", "vision"):
                self._fail(404, "ModelNotFoundException", f"Model not found: {model}")
            elif version and version not in fake.versions:
                message = f"Model version: {version} does not exist for model: {model}"
                self._fail(404, "ModelVersionNotFoundException", message)
            elif failure == "no_worker":
                self._fail(503, "ServiceUnavailableException", NO_WORKER)
            elif failure == "limited":
                self._reply(429, "application/json", b'{"error": {"message": "try again in 1 s"}}')
            elif failure == "worker_died":
                self._fail(500, "InternalServerException", "Worker died.")
            elif failure == "worker_killed":
                self._fail(507, "InternalServerException", "Worker died.")
            elif failure == "crashed":
                self._fail(500, "InternalServerException", "boom")
            elif failure == "too_large" or len(body) > fake.largest_body:
                self._reply(413, None, b"")
            elif failure and failure.startswith("status "):
                self._reply(int(failure.split()[1]), "text/html", b"<h1>a proxy</h1>")
            else:
                payload = _payload(failure, lambda: fake.embed(model, version, body))
                refused = (
                    EmbedResponse.FromString(payload).HasField("error") if failure != "garbage" else False
                )
                self._reply(409 if refused else 200, PROTOBUF, payload)

        def _fail(self, status: int, kind: str, message: str) -> None:
            text = json.dumps({"code": status, "type": kind, "message": message}, indent=2)
            self._reply(status, "application/json", text.encode())

        def _reply(self, status: int, kind: str | None, body: bytes) -> None:
            self.send_response(status)
            if kind:
                self.send_header("content-type", kind)
            self.send_header("content-length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, format: str, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            pass  # A client that gave up on a stalled answer has closed the connection.

    server = Server(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
    thread.start()

    def stop() -> None:
        server.shutdown()
        thread.join()
        server.server_close()

    scheme = "http" if tls is None else "https"
    fake.url, fake.stop = f"{scheme}://127.0.0.1:{server.server_port}", stop
    return fake


def grpc_server(tls: grpc.ServerCredentials | None = None) -> FakeServer:
    """A FakeServer that answers TorchServe's `Predictions` call, over TLS with `tls`."""
    fake = FakeServer()

    def predictions(request: PredictionsRequest, context: grpc.ServicerContext) -> PredictionResponse:
        def fail(details: str, status: grpc.StatusCode = grpc.StatusCode.INTERNAL) -> None:
            context.abort(status, details)

        fake.metadata.append({str(key): str(value) for key, value in context.invocation_metadata()})
        failure = fake.next_failure()
        model, version = request.model_name, request.model_version
        if fake.token and ("authorization", f"Bearer {fake.token}") not in context.invocation_metadata():
            fail(BAD_TOKEN, grpc.StatusCode.PERMISSION_DENIED)
        if model not in ("text", "vision"):
            fail(f"Model not found: {model}\norg.pytorch.serve.archive.model.ModelNotFoundException")
        if version and version not in fake.versions:
            kind = "org.pytorch.serve.archive.model.ModelVersionNotFoundException"
            fail(f"Model version: {version} does not exist for model: {model}\n{kind}")
        if failure == "no_worker":
            fail(f"{NO_WORKER}\nInternalServerException.()")
        if failure == "limited":
            fail("try again in 1 s", grpc.StatusCode.RESOURCE_EXHAUSTED)
        if failure == "worker_died":
            fail("Worker died.\norg.pytorch.serve.http.InternalServerException")
        if failure == "worker_killed":
            fail("Worker died.", grpc.StatusCode.RESOURCE_EXHAUSTED)
        if failure == "crashed":
            fail("boom\nInternalServerException.()")
        if failure == "too_large" or len(request.input["request"]) > fake.largest_body:
            fail(
                "Stream removed (RST_STREAM (Received RST_STREAM with error code 8))",
                grpc.StatusCode.CANCELLED,
            )
        body = request.input["request"]
        return PredictionResponse(
            prediction=_payload(failure, lambda: fake.embed(model, version or None, body))
        )

    handler = grpc.unary_unary_rpc_method_handler(
        predictions,
        request_deserializer=PredictionsRequest.FromString,
        response_serializer=PredictionResponse.SerializeToString,
    )
    server = grpc.server(ThreadPoolExecutor(4), options=[("grpc.max_receive_message_length", 64_000_000)])
    server.add_generic_rpc_handlers(
        [grpc.method_handlers_generic_handler(INFERENCE, {"Predictions": handler})]
    )
    place = "127.0.0.1:0"
    port = server.add_insecure_port(place) if tls is None else server.add_secure_port(place, tls)
    server.start()
    scheme = "grpc" if tls is None else "grpcs"
    fake.url, fake.stop = f"{scheme}://127.0.0.1:{port}", lambda: server.stop(0).wait()
    return fake

"""A TorchServe worker without its frontend: messages pass TorchServe's own reader, service and writer."""

from __future__ import annotations

import io
import struct
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from ts.metrics.metric_cache_yaml_impl import MetricsCacheYamlImpl
from ts.protocol import otf_message_handler
from ts.service import Service

from handlers.base import Handler
from handlers.embedding_pb2 import EmbedResponse
from tests.places import REPOSITORY

METRICS_YAML = REPOSITORY / "deploy" / "torchserve" / "metrics.yaml"


@dataclass(frozen=True)
class Call:
    """One request as the frontend passes it to a worker."""

    headers: Mapping[str, str]
    parameters: Sequence[tuple[str, str, bytes]]


def http(body: bytes, content_type: str = "", **headers: str) -> Call:
    """An HTTP request with a raw body; the frontend gives the parameter the media type only."""
    sent = {"explain": "False", **headers}
    if content_type:
        sent["Content-Type"] = content_type
    return Call(sent, [("body", content_type.partition(";")[0], body)])


def form(content_type: str, Accept: str = "*/*", **fields: bytes) -> Call:
    """An HTTP request whose body the frontend has split into fields."""
    headers = {"explain": "False", "Content-Type": content_type, "Accept": Accept}
    return Call(headers, [(name, "", value) for name, value in fields.items()])


def grpc(**inputs: bytes) -> Call:
    """A gRPC Predictions call: its input map, no headers."""
    return Call({}, [(name, "", value) for name, value in inputs.items()])


@dataclass
class Reply:
    """What the frontend gets back for one request."""

    status: int
    content_type: str
    headers: dict[str, str]
    body: bytes

    @property
    def message(self) -> EmbedResponse:
        """The body as an EmbedResponse."""
        return EmbedResponse.FromString(self.body)


@dataclass
class Worker:
    """A handler, loaded the way TorchServe loads it."""

    handler_class: type[Handler]
    folder: Path
    settings: dict[str, Any] = field(default_factory=dict)
    gpu_id: int | None = None

    def __post_init__(self) -> None:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", ResourceWarning)  # TorchServe leaves the file open.
            cache = MetricsCacheYamlImpl(config_file_path=str(METRICS_YAML))
        cache.initialize_cache()
        self.handler = self.handler_class()
        manifest = {"model": {"modelVersion": "1.0"}}
        self.service = Service(
            self.handler.tower, str(self.folder), manifest, self.handler.handle, self.gpu_id, 8, True, cache
        )
        self.service.cl_socket = None
        self.service.context.model_yaml_config = {"babelclip": self.settings}
        self.handler.initialize(self.service.context)

    def send(self, *calls: Call) -> list[Reply]:
        """One batch through the worker."""
        batch = otf_message_handler._retrieve_inference_msg(_Socket(_encode(calls)))
        return _decode(io.BytesIO(bytes(self.service.predict(batch))))


class _Socket(io.BytesIO):
    def recv(self, length: int) -> bytes:
        return self.read(length)


def _text(value: str | bytes) -> bytes:
    raw = value.encode() if isinstance(value, str) else value
    return struct.pack("!i", len(raw)) + raw


def _encode(calls: Sequence[Call]) -> bytes:
    end = struct.pack("!i", -1)
    message = b""
    for index, call in enumerate(calls):
        message += _text(f"request-{index}")
        message += b"".join(_text(name) + _text(value) for name, value in call.headers.items()) + end
        message += b"".join(_text(n) + _text(kind) + _text(value) for n, kind, value in call.parameters) + end
    return message + end


def _decode(stream: io.BytesIO) -> list[Reply]:
    def number() -> int:
        return int(struct.unpack("!i", stream.read(4))[0])

    def text() -> str:
        return stream.read(number()).decode()

    code, words = number(), text()
    assert code == 200, f"the whole batch failed: {code} {words}"
    replies = []
    while (length := number()) != -1:
        stream.read(length)
        content_type, status, _ = text(), number(), text()
        headers = {text(): text() for _ in range(number())}
        replies.append(Reply(status, content_type, headers, stream.read(number())))
    return replies

"""Requests as no client should send them, each made from a seed and an index alone.

`make(seed, index)` gives the same body whenever it is asked, in any order, so a failure is named by two
numbers. That is why bodies are drawn from `random.Random` and not from Hypothesis, whose examples depend on
what came before them.
"""

from __future__ import annotations

import base64
import json
import random
import urllib.parse
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

from tests.fuzz.contents import ENCODINGS, json_text, multipart, protobuf, text, urlencoded
from tests.fuzz.images import image, junk, mutated

TOWERS = ("text", "vision")
PROTOBUF = "application/x-protobuf"
Transport = Literal["http", "grpc", "stream"]


@dataclass(frozen=True)
class Body:
    """One request: over HTTP a path, headers and content, over gRPC a model, a version and an input map."""

    kind: str
    transport: Transport
    path: str = ""
    method: str = "POST"
    headers: tuple[tuple[bytes, bytes], ...] = ()
    content: bytes = b""
    model: str = ""
    version: str = ""
    inputs: Mapping[str, bytes] = field(default_factory=dict)

    def saved(self) -> str:
        """The body as JSON, for whoever looks into a failure."""

        def shown(raw: bytes) -> str:
            return base64.b64encode(raw).decode()

        facts = {
            "kind": self.kind,
            "transport": self.transport,
            "method": self.method,
            "path": self.path,
            "headers": [[name.decode("latin-1"), value.decode("latin-1")] for name, value in self.headers],
            "content_base64": shown(self.content),
            "model": self.model,
            "version": self.version,
            "inputs_base64": {name: shown(value) for name, value in self.inputs.items()},
        }
        return json.dumps(facts, indent=1, ensure_ascii=True)


def make(seed: int, index: int) -> Body:
    """The body that `seed` and `index` name."""
    rng = random.Random(f"{seed}:{index}")
    return rng.choice(KINDS)(rng)


_TYPES = (
    *(
        b"",
        b"application/json",
        b"application/json; charset=utf-16",
        b"APPLICATION/JSON",
        b"application/jsonp",
    ),
    *(
        b"text/plain",
        b"text/plain; charset=utf-8",
        b"text/plain; charset=latin-1",
        b'text/plain;charset="',
        b"text/",
    ),
    *(
        b"text/html",
        b"text",
        b"image/png",
        b"image/jpeg",
        b"image/",
        b"image/svg+xml",
        b"application/octet-stream",
    ),
    *(
        b"application/x-protobuf",
        b"application/protobuf; x=y",
        b"application/grpc",
        b"application/pdf",
        b"*/*",
        b";",
    ),
    *(
        b"\xff\xfe",
        b"a" * 5000,
        b"application/json, text/plain",
        b"text/plain; charset=" + b"x" * 3000,
        b"/",
        b"video/mp4",
    ),
    *(
        b"application/json;",
        b" text/plain".strip(),
        b"multipart/form-data",
        b"application/x-www-form-urlencoded",
    ),
)
_ACCEPTS = (
    *(
        b"",
        b"*/*",
        b"application/json",
        b"application/x-protobuf",
        b"application/x-protobuf;q=0.5, application/json;q=0.4",
    ),
    *(
        b"application/json;q=2",
        b"application/json;q=-1",
        b"application/json;q=",
        b",,,;;;===",
        b"application/health+json",
    ),
    *(
        b"\xff",
        b"text/html",
        b"application/x-protobuf;q=1.0000",
        b"a/b," * 900,
        b"application/json;q=0, application/protobuf",
    ),
)


def _headers(rng: random.Random, content_type: bytes) -> tuple[tuple[bytes, bytes], ...]:
    made = [(b"Content-Type", content_type)] if content_type else []
    if rng.random() < 0.2:
        made.append((b"Accept", rng.choice(_ACCEPTS)))
    if rng.random() < 0.03:
        made.append(
            (rng.choice((b"explain", b"url_path", b"ts_stream_next", b"content-type", b"X")), junk_word(rng))
        )
    return tuple(made)


def junk_word(rng: random.Random) -> bytes:
    """A header's value that HTTP allows."""
    return rng.choice((b"", b"true", b"v1/embeddings", b"\xc3\xa9", b"application/json", b"x" * 1000))


def _http(rng: random.Random, kind: str, content: bytes, content_type: bytes, path: str = "") -> Body:
    where = path or f"/predictions/{rng.choice(TOWERS)}"
    return Body(kind, "http", path=where, headers=_headers(rng, content_type), content=content)


def _raw_image(rng: random.Random) -> Body:
    kind = rng.choice((b"image/png", b"image/jpeg", b"", b"application/octet-stream"))
    return _http(rng, "image", image(rng), kind, "/predictions/vision")


def _raw_text(rng: random.Random) -> Body:
    charset = rng.choice((b"", b"", b"; charset=utf-8", b"; charset=" + rng.choice(ENCODINGS).encode()))
    return _http(
        rng, "text", text(rng), rng.choice((b"text/plain" + charset, b"", b"application/octet-stream"))
    )


def _base64_text(rng: random.Random) -> Body:
    encoded = base64.b64encode(image(rng))
    if rng.random() < 0.4:
        encoded = mutated(rng, rng.choice((b"data:image/png;base64,", b" ", b"")) + encoded)
    return _http(rng, "base64", encoded, b"text/plain", "/predictions/vision")


def _plain_json(rng: random.Random) -> Body:
    return _http(rng, "json", json_text(rng, "inputs"), b"application/json")


def _openai(rng: random.Random) -> Body:
    path = f"/predictions/{rng.choice(TOWERS)}/1.0/v1/embeddings"
    return _http(
        rng,
        "openai",
        json_text(rng, "input"),
        rng.choice((b"application/json",) * 9 + (b"text/plain",)),
        path,
    )


def _kserve(rng: random.Random) -> Body:
    tower = rng.choice(TOWERS)
    path = rng.choice((f"/v1/models/{tower}:predict", f"/predictions/{tower}"))
    return _http(rng, "kserve", json_text(rng, "instances"), b"application/json", path)


def _http_protobuf(rng: random.Random) -> Body:
    return _http(rng, "protobuf", protobuf(rng), PROTOBUF.encode())


def _form(rng: random.Random) -> Body:
    content, kind = multipart(rng)
    return _http(rng, "multipart", content, kind)


def _url_form(rng: random.Random) -> Body:
    return _http(rng, "urlencoded", urlencoded(rng), b"application/x-www-form-urlencoded")


def _odd_headers(rng: random.Random) -> Body:
    content = rng.choice((image, text, protobuf, lambda rng: json_text(rng, "inputs"), lambda rng: b""))(rng)
    made = [(b"Content-Type", rng.choice(_TYPES)) for _ in range(rng.choice((0, 1, 1, 1, 2)))]
    made += [(b"Accept", rng.choice(_ACCEPTS)) for _ in range(rng.choice((0, 1, 1, 2)))]
    where = f"/predictions/{rng.choice(TOWERS)}"
    return Body("headers", "http", path=where, headers=tuple(made), content=content)


def _odd_path(rng: random.Random) -> Body:
    tower = rng.choice(TOWERS)
    tail = rng.choice(
        (
            "",
            "/1.0",
            "/1.0/",
            "/9.9",
            "/1.0/v1/embeddings/",
            "/1.0/x",
            "/1.0/../..",
            "/1.0/%ff%fe",
            "//",
            "/é",
            "/1.0/v2",
        )
    )
    root = rng.choice(
        (
            "/predictions/",
            "/predictions/",
            "/predictions/",
            "/explanations/",
            "/v1/models/",
            "/v2/models/",
            "/",
        )
    )
    method = rng.choice(("POST", "POST", "PUT", "GET", "HEAD", "OPTIONS", "DELETE", "PATCH"))
    return Body(
        "path",
        "http",
        path=urllib.parse.quote(root + rng.choice((tower, tower, "nothing", "")) + tail, safe="/%.:"),
        method=method,
        headers=_headers(rng, rng.choice(_TYPES)),
        content=b"" if method in ("GET", "HEAD", "OPTIONS") else text(rng),
    )


def _grpc_request(rng: random.Random) -> Body:
    return Body("grpc", "grpc", model=rng.choice(TOWERS), inputs={"request": protobuf(rng)})


_KEYS = (
    *(
        "request",
        "data",
        "body",
        "explain",
        "",
        "\0",
        "Content-Type",
        "content-type",
        "accept",
        "url_path",
        "ключ",
    ),
    *("ts_stream_next", "x" * 5000, "requestId"),
)


def _grpc_map(rng: random.Random) -> Body:
    inputs = {
        key: rng.choice((image, text, protobuf, junk))(rng)
        for key in rng.sample(_KEYS, rng.choice((0, 1, 1, 2, 5)))
    }
    model = rng.choice((*TOWERS, *TOWERS, *TOWERS, *TOWERS, "nothing", ""))
    version = rng.choice(("", "", "", "", "1.0", "9.9", "é"))
    return Body("grpc map", "grpc", model=model, version=version, inputs=inputs)


def _stream(rng: random.Random) -> Body:
    inputs = {rng.choice(_KEYS[:4]): rng.choice((image, text, protobuf, junk))(rng)}
    return Body("grpc stream", "stream", model=rng.choice(TOWERS), inputs=inputs)


# A kind that is named twice comes twice as often.
KINDS: tuple[Callable[[random.Random], Body], ...] = (
    *(
        _raw_image,
        _raw_image,
        _raw_image,
        _raw_text,
        _raw_text,
        _base64_text,
        _plain_json,
        _plain_json,
        _openai,
    ),
    *(_kserve, _http_protobuf, _http_protobuf, _form, _form, _url_form, _odd_headers, _odd_path),
    *(_grpc_request, _grpc_request, _grpc_map, _stream),
)

"""How a request came, and therefore how it is answered; known even where its content is refused.

Dialects, each answered in kind:

    plain    {"inputs": [...]}                                          docs/errors.md
    openai   OpenAI's embeddings call, by the path .../v1/embeddings    handlers.protocol.dialects.openai
    kserve   {"instances": [...]}, KServe's V1 protocol                 handlers.protocol.dialects.kserve
             (a request of its V2 protocol is refused in the same form)
    health   Accept: application/health+json, a probe                   handlers.protocol.dialects.health

A plain request is answered in protobuf or JSON, whichever its Accept header prefers; where that names
neither, a protobuf request in protobuf and any other in JSON.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from handlers.protocol.foreign import is_kserve_v2

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
HEALTH = "application/health+json"
MULTIPART = "multipart/form-data"
URLENCODED = "application/x-www-form-urlencoded"
PROTOBUF_TYPES = (PROTOBUF, "application/protobuf")
FORM_TYPES = (MULTIPART, URLENCODED)
_JSON_TYPES = (JSON, "text/json", "text/x-json", "application/x-json")
OPENAI_PATH = "v1/embeddings"

# One of them at least comes with every HTTP request, and none with gRPC. TorchServe adds the first by itself,
# except at /models/MODEL/invoke, SageMaker's address.
_HTTP_HEADERS = ("explain", "host", "content-length", "transfer-encoding", "content-type")

Dialect = Literal["plain", "openai", "kserve", "health"]


@dataclass(frozen=True)
class Envelope:
    """What the headers of a request say, and as much of its body as decides the form of the answer."""

    grpc: bool
    protobuf: bool
    """Answer with an EmbedResponse, else with JSON."""
    single: bool
    """One raw item: over HTTP its error is the status of the answer."""
    content_type: str
    """Media type, lower case, without parameters, JSON's other names as JSON; "" over gRPC."""
    charset: str
    dialect: Dialect = "plain"
    base64: bool = False
    """Whether an OpenAI answer holds base64 instead of numbers."""
    path: str = ""
    """What followed /predictions/MODEL/VERSION/ in the address."""
    explain: bool = False
    """Whether an explanation was asked for instead of a prediction."""
    coding: str = ""
    """How the body is compressed, as Content-Encoding says; "" where it is not."""


def read_envelope(headers: Mapping[str, Any], data: Mapping[str, Any]) -> Envelope:
    """Request headers and input of one TorchServe request → its envelope. Never raises on outside bytes."""
    lowered = {str(name).lower(): value for name, value in headers.items()}
    # A gRPC input may have keys of these names, which are no strings here.
    if not any(isinstance(lowered.get(name), str) for name in _HTTP_HEADERS):
        return Envelope(grpc=True, protobuf=True, single="request" not in data, content_type="", charset="")
    content_type, _, parameters = _text_of(lowered.get("content-type")).partition(";")
    content_type = content_type.strip().lower()
    if content_type in _JSON_TYPES:
        content_type = JSON
    charset = re.search(r"charset\s*=\s*\"?([\w.:-]+)", parameters, re.ASCII)
    path = _text_of(lowered.get("url_path")).strip("/")
    body = parse_json(data.get("body")) if content_type == JSON else None
    fields = body if isinstance(body, dict) else {}
    accept = _text_of(lowered.get("accept")).lower()
    coding = _text_of(lowered.get("content-encoding")).strip().lower()
    dialect: Dialect = "plain"
    if HEALTH in accept:
        dialect = "health"
    elif path == OPENAI_PATH:
        dialect = "openai"
    elif "instances" in fields or is_kserve_v2(fields):
        dialect = "kserve"
    sent_protobuf = content_type in PROTOBUF_TYPES
    several = content_type == MULTIPART and len(data) > 1
    return Envelope(
        grpc=False,
        protobuf=dialect == "plain" and wants_protobuf(accept, sent_protobuf),
        single=not sent_protobuf and content_type != JSON and not several,
        content_type=content_type,
        charset=charset.group(1).lower() if charset else "",
        dialect=dialect,
        base64=fields.get("encoding_format") == "base64",
        path=path,
        explain=_text_of(lowered.get("explain")).lower() == "true",
        coding=coding if coding != "identity" else "",
    )


def parse_json(body: Any) -> Any:
    """The body of a JSON request → its value; what is no JSON comes back as it is.

    TorchServe has parsed it unless it is not of exactly the type application/json, begins with a byte order
    mark, or is no JSON; then its bytes or its text arrive.
    """
    try:
        if isinstance(body, str):
            return json.loads(body.removeprefix("\ufeff"))
        if isinstance(body, bytes | bytearray):
            return json.loads(bytes(body))
    except (ValueError, RecursionError):
        pass
    return body


def wants_protobuf(accept: str, default: bool) -> bool:
    """Whether an Accept header, in lower case, prefers protobuf to JSON (RFC 9110); else `default`."""
    quality: dict[str, float] = {}
    for part in accept.split(","):
        name, _, parameters = part.partition(";")
        found = re.search(r"(?:^|;)\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*(?:;|$)", parameters, re.ASCII)
        kind = PROTOBUF if name.strip() in PROTOBUF_TYPES else name.strip()
        quality[kind] = max(quality.get(kind, 0.0), float(found.group(1)) if found else 1.0)
    protobuf, plain = quality.get(PROTOBUF, 0.0), quality.get(JSON, 0.0)
    return default if protobuf == plain else protobuf > plain


def _text_of(header: Any) -> str:
    return header if isinstance(header, str) else ""

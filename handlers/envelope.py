"""How a request came, and therefore how it is answered; known even where its content is refused.

Dialects, each answered in kind:

    plain    {"inputs": [...]}                                          docs/errors.md
    openai   OpenAI's embeddings call, by the path .../v1/embeddings    handlers.openai
    kserve   {"instances": [...]}, KServe's V1 protocol                 handlers.kserve
    health   Accept: application/health+json, a probe                   handlers.health

A plain request is answered in protobuf or JSON, whichever its Accept header prefers; where that names
neither, a protobuf request in protobuf and any other in JSON.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
HEALTH = "application/health+json"
MULTIPART = "multipart/form-data"
URLENCODED = "application/x-www-form-urlencoded"
PROTOBUF_TYPES = (PROTOBUF, "application/protobuf")
FORM_TYPES = (MULTIPART, URLENCODED)
OPENAI_PATH = "v1/embeddings"

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
    """Media type of the request, lower case, without parameters; "" over gRPC."""
    charset: str
    dialect: Dialect = "plain"
    base64: bool = False
    """Whether an OpenAI answer holds base64 instead of numbers."""
    path: str = ""
    """What followed /predictions/MODEL/VERSION/ in the address."""


def read_envelope(headers: Mapping[str, Any], data: Mapping[str, Any]) -> Envelope:
    """Request headers and input of one TorchServe request → its envelope. Never raises on outside bytes."""
    lowered = {str(name).lower(): value for name, value in headers.items()}
    # TorchServe gives every HTTP request an "explain" header and a gRPC request none. A gRPC input may have a
    # key of that name, which is no string here.
    if not isinstance(lowered.get("explain"), str):
        return Envelope(grpc=True, protobuf=True, single="request" not in data, content_type="", charset="")
    content_type, _, parameters = _text_of(lowered.get("content-type")).partition(";")
    content_type = content_type.strip().lower()
    charset = re.search(r"charset\s*=\s*\"?([\w.:-]+)", parameters, re.ASCII)
    path = _text_of(lowered.get("url_path")).strip("/")
    body = data.get("body")
    fields = body if isinstance(body, dict) else {}
    accept = _text_of(lowered.get("accept")).lower()
    dialect: Dialect = "plain"
    if HEALTH in accept:
        dialect = "health"
    elif path == OPENAI_PATH:
        dialect = "openai"
    elif content_type == JSON and "instances" in fields:
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
    )


def wants_protobuf(accept: str, default: bool) -> bool:
    """Whether an Accept header, in lower case, prefers protobuf to JSON (RFC 9110); else `default`."""
    quality: dict[str, float] = {}
    for part in accept.split(","):
        name, _, parameters = part.partition(";")
        found = re.search(r"(?:^|;)\s*q\s*=\s*([01](?:\.\d{0,3})?)\s*(?:;|$)", parameters, re.ASCII)
        kind = PROTOBUF if name.strip() in PROTOBUF_TYPES else name.strip()
        quality[kind] = max(quality.get(kind, 0.0), float(found.group(1)) if found else 1.0)
    protobuf, json = quality.get(PROTOBUF, 0.0), quality.get(JSON, 0.0)
    return default if protobuf == json else protobuf > json


def _text_of(header: Any) -> str:
    return header if isinstance(header, str) else ""

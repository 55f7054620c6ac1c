"""What one TorchServe request says before anything of it is checked: its headers, and its body or fields.

Reading an envelope never fails, so that a request whose content is refused still has an answer in its form.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

PROTOBUF = "application/x-protobuf"
JSON = "application/json"
MULTIPART = "multipart/form-data"
URLENCODED = "application/x-www-form-urlencoded"
PROTOBUF_TYPES = (PROTOBUF, "application/protobuf")
FORM_TYPES = (MULTIPART, URLENCODED)
_JSON_TYPES = (JSON, "text/json", "text/x-json", "application/x-json")

# At least one of them comes with every HTTP request, and none with gRPC. TorchServe adds the first by itself,
# except at /models/MODEL/invoke, SageMaker's address.
_HTTP_HEADERS = ("explain", "host", "content-length", "transfer-encoding", "content-type")


@dataclass(slots=True)
class Envelope:
    """One request, as TorchServe passed it on."""

    grpc: bool
    inputs: Mapping[str, Any]
    """By name: the fields of a form, the input map of gRPC, or the body alone."""
    body: Any
    """`body` of the inputs, else `data`; of a JSON request its value, or what came where that is no JSON."""
    content_type: str = ""
    """Media type, lower case, without parameters, JSON's other names as JSON; "" over gRPC."""
    charset: str = ""
    accept: str = ""
    """The Accept header, lower case."""
    path: str = ""
    """What followed /predictions/MODEL/VERSION/ in the address."""
    explain: bool = False
    """Whether an explanation was asked for instead of a prediction."""
    coding: str = ""
    """How the body is compressed, as Content-Encoding says; "" where it is not."""

    @property
    def fields(self) -> Mapping[str, Any]:
        """The body of a JSON request where it is an object; empty for any other request."""
        return self.body if self.content_type == JSON and isinstance(self.body, dict) else {}


def read_envelope(headers: Mapping[str, Any], inputs: Mapping[str, Any]) -> Envelope:
    """Request headers and inputs of one TorchServe request → its envelope. Never raises on outside bytes."""
    lowered = {str(name).lower(): value for name, value in headers.items()}
    body = inputs["body"] if "body" in inputs else inputs.get("data")
    # A gRPC input may have keys of these names, which are no strings here.
    if not any(isinstance(lowered.get(name), str) for name in _HTTP_HEADERS):
        return Envelope(grpc=True, inputs=inputs, body=body)
    content_type, _, parameters = _text_of(lowered.get("content-type")).partition(";")
    content_type = content_type.strip().lower()
    if content_type in _JSON_TYPES:
        content_type = JSON
    charset = re.search(r"charset\s*=\s*\"?([\w.:-]+)", parameters, re.ASCII)
    coding = _text_of(lowered.get("content-encoding")).strip().lower()
    return Envelope(
        grpc=False,
        inputs=inputs,
        body=_parse_json(body) if content_type == JSON else body,
        content_type=content_type,
        charset=charset.group(1).lower() if charset else "",
        accept=_text_of(lowered.get("accept")).lower(),
        path=_text_of(lowered.get("url_path")).strip("/"),
        explain=_text_of(lowered.get("explain")).lower() == "true",
        coding=coding if coding != "identity" else "",
    )


def _parse_json(body: Any) -> Any:
    """The body of a JSON request → its value; what is no JSON comes back as it is.

    TorchServe has parsed it unless its type is not exactly application/json, it begins with a byte order
    mark, or it is no JSON; then its bytes or its text arrive.
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

"""babelclip's own forms, over HTTP and gRPC: what is of no other dialect. docs/errors.md lists the refusals.

    gRPC   input["request"]                      EmbedRequest
    gRPC   input["data" or "body"]               one raw text or image
    HTTP   application/x-protobuf                EmbedRequest
    HTTP   application/json                      {"inputs": [...], "space": optional, "language": optional}
    HTTP   multipart/form-data                   one item per field
    HTTP   image/*, text/*, octet-stream, none   one raw text or image; an image also in base64

It is answered in protobuf or JSON, whichever its Accept header prefers; where that names neither, a protobuf
request in protobuf and any other in JSON.

    JSON of a list      {"space","version","dim","logit_scale","embeddings":[[...]|null],"errors":[...],
                         "truncated":[...],"unknown":[...]}
    JSON of an error    {"error":{"code","message"}}
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from google.protobuf.message import DecodeError

from handlers import embedding_pb2
from handlers.config import Settings, TowerMeta
from handlers.errors import MALFORMED_REQUEST, ItemError, RequestError
from handlers.outcomes import Outcome
from handlers.protocol.bodies import read_form, read_raw
from handlers.protocol.dialects.base import Content, Dialect, json_value
from handlers.protocol.envelope import (
    FORM_TYPES,
    JSON,
    MULTIPART,
    PROTOBUF,
    PROTOBUF_TYPES,
    Envelope,
    wants_protobuf,
)
from handlers.protocol.foreign import ACCEPTED, of_objects, refusal
from handlers.protocol.items import Payload, in_language, json_item, wrong_tower
from handlers.protocol.rendering import (
    Response,
    compact,
    json_errors,
    json_rows,
    tokens,
    truncated,
    unknown,
)


class Native(Dialect):
    """What the clients of this project send, and what a person sends with curl."""

    def matches(self, envelope: Envelope) -> bool:
        """Always: it stands last."""
        return True

    def read(self, envelope: Envelope, meta: TowerMeta, settings: Settings) -> Content:
        """The items of an EmbedRequest, of a JSON list or of a form, or the one that the body is.

        Raises:
            RequestError: the body is of no form that is spoken here, or is not what its type says.
        """
        if envelope.grpc and "request" in envelope.inputs:
            return _read_protobuf(envelope.inputs["request"], meta)
        if envelope.grpc and envelope.body is None:
            raise RequestError(
                MALFORMED_REQUEST,
                'the input has neither the key "request" (an EmbedRequest) nor "data" (one raw item)',
            )
        if envelope.content_type in PROTOBUF_TYPES:
            return _read_protobuf(envelope.body, meta)
        if envelope.content_type == JSON:
            return _read_json(json_value(envelope), meta, settings)
        if envelope.content_type in FORM_TYPES:
            return Content(read_form(envelope, meta.tower, settings))
        return Content([read_raw(envelope, meta.tower, settings)])

    def render(self, envelope: Envelope, outcomes: Sequence[Outcome], meta: TowerMeta) -> Response:
        """An EmbedResponse or a JSON list. The error of one raw item is also the status of the response."""
        first = outcomes[0]
        failed = first if isinstance(first, ItemError) and _is_raw(envelope) else None
        status = 200 if failed is None else failed.status
        if _wants_protobuf(envelope):
            return Response(_protobuf(outcomes, meta), PROTOBUF, status)
        if failed is not None:
            return Response(_json_error(failed), JSON, status)
        return Response(_json(outcomes, meta), JSON, status)

    def refuse(self, envelope: Envelope, error: RequestError, meta: TowerMeta) -> Response:
        """An EmbedResponse with the error, or a JSON error. gRPC drops the status and keeps the body."""
        if _wants_protobuf(envelope):
            response = embedding_pb2.EmbedResponse(
                space=meta.space,
                dim=meta.dim,
                logit_scale=meta.logit_scale,
                error=embedding_pb2.RequestError(code=error.code, message=error.message),
                version=meta.version,
            )
            return Response(response.SerializeToString(), PROTOBUF, error.status)
        return Response(_json_error(error), JSON, error.status)


def _wants_protobuf(envelope: Envelope) -> bool:
    sent = envelope.content_type in PROTOBUF_TYPES
    return envelope.grpc or wants_protobuf(envelope.accept, default=sent)


def _is_raw(envelope: Envelope) -> bool:
    """Whether the request is one item, and not a list that may hold one."""
    if envelope.grpc:
        return "request" not in envelope.inputs
    if envelope.content_type == MULTIPART:
        return len(envelope.inputs) <= 1
    return envelope.content_type not in (*PROTOBUF_TYPES, JSON)


def _read_protobuf(body: Any, meta: TowerMeta) -> Content:
    if not isinstance(body, bytes | bytearray):
        raise RequestError(MALFORMED_REQUEST, "the body is not a serialized EmbedRequest")
    try:
        request = embedding_pb2.EmbedRequest.FromString(bytes(body))
    except DecodeError as error:
        raise RequestError(MALFORMED_REQUEST, "the body is not a serialized EmbedRequest") from error
    texts: list[Payload] = list(request.texts)
    images: list[Payload] = list(request.images)
    if request.canary:
        if texts or images:
            raise RequestError(MALFORMED_REQUEST, "a request for the canary holds no items")
        return Content(meta.self_test, request.space)
    if meta.tower == "text":
        images = [wrong_tower("text") for _ in images]
        texts = in_language(texts, request.language, meta.languages)
    else:
        texts = [wrong_tower("vision") for _ in texts]
    return Content(texts + images, request.space, request.timeout_ms / 1000 or None, request.stages)


def _read_json(body: Any, meta: TowerMeta, settings: Settings) -> Content:
    if not isinstance(body, dict) or "inputs" not in body:
        raise RequestError(MALFORMED_REQUEST, refusal(body))
    inputs, space, language = body["inputs"], body.get("space"), body.get("language")
    if isinstance(inputs, str):
        inputs = [inputs]
    if not isinstance(inputs, list):
        raise RequestError(MALFORMED_REQUEST, '"inputs" must be a list of strings')
    if of_objects(inputs):
        raise RequestError(MALFORMED_REQUEST, f'"inputs" holds objects instead of strings; {ACCEPTED}')
    for name, value in (("space", space), ("language", language)):
        if value is not None and not isinstance(value, str):
            raise RequestError(MALFORMED_REQUEST, f'"{name}" must be a string')
    if len(inputs) > settings.max_items:
        return Content(inputs)
    items = [json_item(item, meta.tower, settings) for item in inputs]
    return Content(in_language(items, language or "", meta.languages), space or "")


def _protobuf(outcomes: Sequence[Outcome], meta: TowerMeta) -> bytes:
    rows = np.zeros((len(outcomes), meta.dim), dtype="<f4")
    errors = []
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, ItemError):
            errors.append(embedding_pb2.ItemError(index=index, code=outcome.code, message=outcome.message))
            continue
        rows[index] = outcome.vector
    return embedding_pb2.EmbedResponse(
        space=meta.space,
        dim=meta.dim,
        logit_scale=meta.logit_scale,
        vectors=rows.tobytes(),
        errors=errors,
        truncated=truncated(outcomes),
        version=meta.version,
        unknown=unknown(outcomes),
        tokens=tokens(outcomes) if meta.tower == "text" else (),
    ).SerializeToString()


def _json(outcomes: Sequence[Outcome], meta: TowerMeta) -> bytes:
    facts = {"space": meta.space, "version": meta.version, "dim": meta.dim, "logit_scale": meta.logit_scale}
    lists = {"errors": json_errors(outcomes), "truncated": truncated(outcomes), "unknown": unknown(outcomes)}
    return f'{compact(facts)[:-1]},"embeddings":[{json_rows(outcomes)}],{compact(lists)[1:]}'.encode()


def _json_error(error: ItemError | RequestError) -> bytes:
    return compact({"error": {"code": error.code, "message": error.message}}).encode()

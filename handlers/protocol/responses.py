"""The responses of one batch: none larger than TorchServe takes, each with its status and headers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from handlers.config import TowerMeta
from handlers.embedding_pb2 import EmbedResponse, Stage
from handlers.errors import INTERNAL, OVERLOADED, RESPONSE_TOO_LARGE, RequestError
from handlers.incidents import log_incident
from handlers.outcomes import Outcome
from handlers.preprocess.languages import LanguageTokens
from handlers.protocol.envelope import PROTOBUF
from handlers.protocol.rendering import Response
from handlers.protocol.requests import Request

# The responses of a batch together may be as large as so many of the largest. TorchServe decodes what a
# worker sends from its beginning with each piece that arrives, so its time grows with the square of the size:
# 57 MB took it 7 seconds of a core, and the time counts as the worker's, which responseTimeout ends.
_LARGEST_RESPONSES = 2
# What is known of a batch before its responses are written.
_STAGES = ("parse", "decode", "forward")


def build_responses(
    requests: Sequence[Request],
    outcomes: list[Outcome],
    meta: TowerMeta,
    context: Any,
    *,
    max_bytes: int,
    seconds: Mapping[str, float],
) -> list[bytes]:
    """N requests and the outcomes of all their items → the bodies of N responses, in the same order.

    The `seconds` of each stage go to the requests that want to know. Statuses and headers go to `context`. A
    request whose response must not be sent has an error afterwards.
    """
    bodies = [b""] * len(requests)
    room = _LARGEST_RESPONSES * max_bytes
    # Small ones first, so that it is a large one for which there may be no room.
    for index in sorted(range(len(requests)), key=lambda index: _count(requests[index])):
        response = _build(requests[index], outcomes, meta, seconds, room=room, max_bytes=max_bytes)
        room -= len(response.body)
        _set_headers(index, requests[index], response, context)
        bodies[index] = response.body
    return bodies


def _count(request: Request) -> int:
    return int(request.items.stop - request.items.start)


def _build(
    request: Request,
    outcomes: list[Outcome],
    meta: TowerMeta,
    seconds: Mapping[str, float],
    *,
    room: int,
    max_bytes: int,
) -> Response:
    try:
        if request.error is None:
            response = request.dialect.render(request.envelope, outcomes[request.items], meta)
            if request.wants_stages and response.content_type == PROTOBUF:
                response = _with_stages(response, seconds)
            if request.self_test and meta.languages is not None and response.content_type == PROTOBUF:
                response = _with_languages(response, meta.languages)
            request.error = _check_size(len(response.body), room=room, max_bytes=max_bytes)
        if request.error is None:
            return response
    except Exception as error:
        request.error = RequestError(INTERNAL, log_incident("encoding", error))
    return request.dialect.refuse(request.envelope, request.error, meta)


def _with_stages(response: Response, seconds: Mapping[str, float]) -> Response:
    stages = [Stage(name=name, seconds=seconds[name]) for name in _STAGES]
    # What follows a message of protobuf is merged into it.
    return replace(response, body=response.body + EmbedResponse(stages=stages).SerializeToString())


def _with_languages(response: Response, told: LanguageTokens) -> Response:
    first, every = told.default_tag, told.tags()
    languages = [first, *(tag for tag in every if tag != first)]
    return replace(response, body=response.body + EmbedResponse(languages=languages).SerializeToString())


def _check_size(size: int, *, room: int, max_bytes: int) -> RequestError | None:
    if size > max_bytes:
        return RequestError(
            RESPONSE_TOO_LARGE,
            f"the answer has {size:,} bytes; at most {max_bytes:,} are allowed: send fewer items at once, "
            "or ask for application/x-protobuf or OpenAI's encoding_format base64, which take less than JSON",
        )
    if size > room:
        return RequestError(
            OVERLOADED, "the answers of a batch became too large together; send fewer items at once, or later"
        )
    return None


def _set_headers(index: int, request: Request, response: Response, context: Any) -> None:
    context.set_response_content_type(index, response.content_type)
    context.set_response_status(response.status, response.phrase, index)
    if request.envelope.grpc:
        # Without it, a client that calls StreamPredictions makes the frontend throw and kills the worker.
        # Over HTTP the same header would swallow the response.
        context.set_response_header(index, "ts_stream_next", "false")

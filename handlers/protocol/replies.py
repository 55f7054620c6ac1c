"""The answers of one batch: encoded, none larger than TorchServe takes, each with its status and headers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from handlers.config import TowerMeta
from handlers.errors import INTERNAL, OVERLOADED, RESPONSE_TOO_LARGE, RequestFault
from handlers.incidents import report
from handlers.outcomes import Outcome
from handlers.protocol.answers import Answer
from handlers.protocol.encoding import encode, encode_refusal
from handlers.protocol.envelope import Envelope

# The answers of a batch together may be as large as so many of the largest. TorchServe decodes what a worker
# sends from its beginning with each piece that arrives, so its time grows with the square of the size: 57 MB
# took it 7 seconds of a core, and the time counts as the worker's, which responseTimeout ends.
_LARGEST_ANSWERS = 2


@dataclass
class Request:
    """One request on its way: either `items` stands for it in the flat list, or `fault` refuses it."""

    envelope: Envelope
    items: slice
    fault: RequestFault | None = None
    canary: bool = False
    """A probe: its one item is the tower's own, and is not counted."""
    timeout: float | None = None
    """Seconds that its caller waits for the answer; None where it does not say."""


def reply(
    requests: Sequence[Request], outcomes: list[Outcome], meta: TowerMeta, context: Any, *, max_bytes: int
) -> list[bytes]:
    """N requests and the outcomes of all their items → the bodies of N answers, in the same order.

    Statuses and headers go to `context`. A request whose answer must not be sent has a fault afterwards.
    """
    bodies = [b""] * len(requests)
    room = _LARGEST_ANSWERS * max_bytes
    # Small ones first, so that it is a large one for which there may be no room.
    for index in sorted(range(len(requests)), key=lambda index: _count(requests[index])):
        answer = _answer(requests[index], outcomes, meta, room=room, max_bytes=max_bytes)
        room -= len(answer.body)
        _set_headers(index, requests[index].envelope, answer, context)
        bodies[index] = answer.body
    return bodies


def _count(request: Request) -> int:
    return int(request.items.stop - request.items.start)


def _answer(
    request: Request, outcomes: list[Outcome], meta: TowerMeta, *, room: int, max_bytes: int
) -> Answer:
    try:
        if request.fault is None:
            answer = encode(request.envelope, outcomes[request.items], meta)
            request.fault = _too_large(len(answer.body), room=room, max_bytes=max_bytes)
        if request.fault is None:
            return answer
    except Exception as error:
        request.fault = RequestFault(INTERNAL, report("encoding", error))
    return encode_refusal(request.envelope, request.fault, meta)


def _too_large(size: int, *, room: int, max_bytes: int) -> RequestFault | None:
    if size > max_bytes:
        return RequestFault(
            RESPONSE_TOO_LARGE,
            f"the answer has {size:,} bytes; at most {max_bytes:,} are allowed: send fewer items at once, "
            "or ask for application/x-protobuf or OpenAI's encoding_format base64, which take less than JSON",
        )
    if size > room:
        return RequestFault(
            OVERLOADED, "the answers of a batch became too large together; send fewer items at once, or later"
        )
    return None


def _set_headers(index: int, envelope: Envelope, answer: Answer, context: Any) -> None:
    context.set_response_content_type(index, answer.content_type)
    context.set_response_status(answer.status, answer.phrase, index)
    if envelope.grpc:
        # Without it, a client that calls StreamPredictions makes the frontend throw and kills the worker.
        # Over HTTP the same header would swallow the answer.
        context.set_response_header(index, "ts_stream_next", "false")

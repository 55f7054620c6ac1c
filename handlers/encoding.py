"""One answered request → the bytes of its answer: an EmbedResponse, or compact JSON for people.

JSON of a list:     {"space","dim","logit_scale","embeddings":[[...]|null],"errors":[...],"truncated":[...]}
JSON of a failure:  {"error":{"code","message"}}
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from handlers.config import TowerMeta
from handlers.embedding_pb2 import EmbedResponse, ItemError, RequestError
from handlers.errors import PHRASE, ItemFault, RequestFault
from handlers.parsing import JSON, PROTOBUF, Envelope


@dataclass(frozen=True)
class Embedded:
    """One item's vector, float32 [dim], L2-normalised, and whether the item was cut to be embedded."""

    vector: NDArray[np.float32]
    truncated: bool = False


Outcome = Embedded | ItemFault


@dataclass(frozen=True)
class Answer:
    """What TorchServe sends back for one request."""

    body: bytes
    content_type: str
    status: int = 200

    @property
    def phrase(self) -> str:
        """The reason phrase of the status line."""
        return PHRASE[self.status]


def encode(envelope: Envelope, outcomes: Sequence[Outcome], meta: TowerMeta) -> Answer:
    """The outcomes of a request's items, in its order → the answer, errors of single items inside it."""
    status = 200
    if envelope.single and isinstance(outcomes[0], ItemFault):
        status = outcomes[0].status
    if envelope.protobuf:
        return Answer(_protobuf(outcomes, meta), PROTOBUF, status)
    if status != 200 and isinstance(outcomes[0], ItemFault):
        return Answer(_failure(outcomes[0]), JSON, status)
    return Answer(_json(outcomes, meta), JSON, status)


def encode_refusal(envelope: Envelope, fault: RequestFault, meta: TowerMeta) -> Answer:
    """A refused request → the answer that says why. Over gRPC the status is dropped and the body remains."""
    if envelope.protobuf:
        response = EmbedResponse(
            space=meta.space,
            dim=meta.dim,
            logit_scale=meta.logit_scale,
            error=RequestError(code=fault.code, message=fault.message),
        )
        return Answer(response.SerializeToString(), PROTOBUF, fault.status)
    return Answer(_failure(fault), JSON, fault.status)


def _protobuf(outcomes: Sequence[Outcome], meta: TowerMeta) -> bytes:
    rows = np.zeros((len(outcomes), meta.dim), dtype="<f4")
    errors, truncated = [], []
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, ItemFault):
            errors.append(ItemError(index=index, code=outcome.code, message=outcome.message))
            continue
        rows[index] = outcome.vector
        if outcome.truncated:
            truncated.append(index)
    return EmbedResponse(
        space=meta.space,
        dim=meta.dim,
        logit_scale=meta.logit_scale,
        vectors=rows.tobytes(),
        errors=errors,
        truncated=truncated,
    ).SerializeToString()


def _json(outcomes: Sequence[Outcome], meta: TowerMeta) -> bytes:
    # Nine digits give back exactly the float32 that was sent; formatting whole rows takes a quarter of the
    # time of json.dumps, which would also write each float32 with the seventeen digits of a float64.
    row_format = "[" + ",".join(["%.9g"] * meta.dim) + "]"
    rows = [
        "null" if isinstance(outcome, ItemFault) else row_format % tuple(outcome.vector.tolist())
        for outcome in outcomes
    ]
    errors = [
        {"index": index, "code": outcome.code, "message": outcome.message}
        for index, outcome in enumerate(outcomes)
        if isinstance(outcome, ItemFault)
    ]
    truncated = [
        index for index, outcome in enumerate(outcomes) if isinstance(outcome, Embedded) and outcome.truncated
    ]
    head = _compact({"space": meta.space, "dim": meta.dim, "logit_scale": meta.logit_scale})
    tail = _compact({"errors": errors, "truncated": truncated})
    return f'{head[:-1]},"embeddings":[{",".join(rows)}],{tail[1:]}'.encode()


def _failure(fault: ItemFault | RequestFault) -> bytes:
    return _compact({"error": {"code": fault.code, "message": fault.message}}).encode()


def _compact(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))

"""One answered request → the bytes of its answer: an EmbedResponse, or compact JSON for people.

JSON of a list:     {"space","version","dim","logit_scale","embeddings":[[...]|null],"errors":[...],
                     "truncated":[...],"unknown":[...]}
JSON of a failure:  {"error":{"code","message"}}
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from handlers.config import TowerMeta
from handlers.embedding_pb2 import EmbedResponse, ItemError, RequestError
from handlers.errors import ItemFault, RequestFault
from handlers.outcomes import Outcome
from handlers.protocol.answers import Answer, compact, json_errors, json_row, truncated, unknown
from handlers.protocol.dialects import health, kserve, openai
from handlers.protocol.envelope import JSON, PROTOBUF, Envelope


def encode(envelope: Envelope, outcomes: Sequence[Outcome], meta: TowerMeta) -> Answer:
    """The outcomes of a request's items, in its order → the answer, errors of single items inside it."""
    if envelope.dialect == "openai":
        return openai.encode(outcomes, meta, in_base64=envelope.base64)
    if envelope.dialect == "kserve":
        return kserve.encode(outcomes, meta)
    if envelope.dialect == "health":
        return health.passed(meta.tower, meta.space, meta.numerics)
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
    if envelope.dialect == "openai":
        return openai.refuse(fault)
    if envelope.dialect == "kserve":
        return kserve.refuse(fault)
    if envelope.dialect == "health":
        return health.refuse(fault, meta.tower, meta.space)
    if envelope.protobuf:
        response = EmbedResponse(
            space=meta.space,
            dim=meta.dim,
            logit_scale=meta.logit_scale,
            error=RequestError(code=fault.code, message=fault.message),
            version=meta.version,
        )
        return Answer(response.SerializeToString(), PROTOBUF, fault.status)
    return Answer(_failure(fault), JSON, fault.status)


def _protobuf(outcomes: Sequence[Outcome], meta: TowerMeta) -> bytes:
    rows = np.zeros((len(outcomes), meta.dim), dtype="<f4")
    errors = []
    for index, outcome in enumerate(outcomes):
        if isinstance(outcome, ItemFault):
            errors.append(ItemError(index=index, code=outcome.code, message=outcome.message))
            continue
        rows[index] = outcome.vector
    return EmbedResponse(
        space=meta.space,
        dim=meta.dim,
        logit_scale=meta.logit_scale,
        vectors=rows.tobytes(),
        errors=errors,
        truncated=truncated(outcomes),
        version=meta.version,
        unknown=unknown(outcomes),
    ).SerializeToString()


def _json(outcomes: Sequence[Outcome], meta: TowerMeta) -> bytes:
    rows = ["null" if isinstance(outcome, ItemFault) else json_row(outcome.vector) for outcome in outcomes]
    facts = {"space": meta.space, "version": meta.version, "dim": meta.dim, "logit_scale": meta.logit_scale}
    head = compact(facts)
    notes = {"errors": json_errors(outcomes), "truncated": truncated(outcomes), "unknown": unknown(outcomes)}
    tail = compact(notes)
    return f'{head[:-1]},"embeddings":[{",".join(rows)}],{tail[1:]}'.encode()


def _failure(fault: ItemFault | RequestFault) -> bytes:
    return compact({"error": {"code": fault.code, "message": fault.message}}).encode()

"""KServe's V1 protocol: POST /v1/models/MODEL:predict, or the same body at /predictions/MODEL.

    {"instances": ["…", {"data": "…"}, {"b64": "…"}, …]}
    {"predictions": [[…], null, …], "space": SPACE, "errors": [{"index","code","message"}, …]}

An image is base64 or a data URI. `errors` is there only when an item failed, whose prediction is then null.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from handlers.config import Settings, TowerMeta
from handlers.errors import INVALID_ITEM, MALFORMED_REQUEST, ItemFault, RequestFault
from handlers.outcomes import Outcome
from handlers.protocol.answers import Answer, compact, json_errors, json_row
from handlers.protocol.envelope import JSON
from handlers.protocol.foreign import is_kserve_v2, refusal
from handlers.protocol.items import Payload, json_item

_KEYS = {"data", "b64"}
_INSTANCE = 'an instance must be a string, {"data": …} or {"b64": …}'


def read(body: Any, meta: TowerMeta, settings: Settings) -> list[Payload]:
    """The parsed body, an object with `instances` or of the V2 protocol → its items.

    Raises:
        RequestFault: `instances` is no list or holds other objects, or the body is of the V2 protocol.
    """
    if is_kserve_v2(body):
        raise RequestFault(MALFORMED_REQUEST, refusal(body))
    instances = body["instances"]
    if not isinstance(instances, list):
        raise RequestFault(MALFORMED_REQUEST, '"instances" must be a list')
    if instances and all(isinstance(one, dict) and not _KEYS & one.keys() for one in instances):
        raise RequestFault(MALFORMED_REQUEST, f'"instances" holds objects of other keys; {_INSTANCE}')
    if len(instances) > settings.max_items:
        return instances  # Refused by the caller of this function; not worth decoding.
    return [_instance(instance, meta.tower, settings) for instance in instances]


def encode(outcomes: Sequence[Outcome], meta: TowerMeta) -> Answer:
    """The outcomes of a request's items, in its order → the answer, errors of single items inside it."""
    rows = ["null" if isinstance(o, ItemFault) else json_row(o.vector) for o in outcomes]
    errors = json_errors(outcomes)
    tail = compact({"space": meta.space, **({"errors": errors} if errors else {})})
    return Answer(f'{{"predictions":[{",".join(rows)}],{tail[1:]}'.encode(), JSON)


def refuse(fault: RequestFault) -> Answer:
    """A refused request → KServe's form of an error, a sentence."""
    return Answer(compact({"error": f"{fault.code}: {fault.message}"}).encode(), JSON, fault.status)


def _instance(instance: Any, tower: str, settings: Settings) -> Payload:
    if isinstance(instance, dict):
        held = [instance[name] for name in _KEYS if name in instance]
        if len(held) != 1:
            return ItemFault(INVALID_ITEM, _INSTANCE)
        instance = held[0]
    return json_item(instance, tower, settings)

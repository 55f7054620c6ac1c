"""KServe's V1 protocol: POST /v1/models/MODEL:predict, or the same body at /predictions/MODEL.

    {"instances": ["…", {"data": "…"}, {"b64": "…"}, …], "language": "bn"}
    {"predictions": [[…], null, …], "space": SPACE, "errors": [{"index","code","message"}, …]}

An image is base64 or a data URI. Without `language` texts are in the model's default one. `errors` is there
only when an item failed, whose prediction is then null. A request of KServe's V2 protocol is refused in V1's
form.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from handlers.config import Settings, TowerMeta
from handlers.errors import INVALID_ITEM, MALFORMED_REQUEST, ItemError, RequestError
from handlers.outcomes import Outcome
from handlers.protocol.dialects.base import Content, Dialect
from handlers.protocol.envelope import JSON, Envelope
from handlers.protocol.foreign import is_kserve_v2, refusal
from handlers.protocol.items import Payload, in_language, json_item
from handlers.protocol.rendering import Response, compact, json_errors, json_rows

_KEYS = {"data", "b64"}
_INSTANCE = 'an instance must be a string, {"data": …} or {"b64": …}'


class KServe(Dialect):
    """A JSON object with `instances`."""

    def matches(self, envelope: Envelope) -> bool:
        """Where the body has `instances`, or the named tensors of V2."""
        fields = envelope.fields
        return bool(fields) and ("instances" in fields or is_kserve_v2(fields))

    def read(self, envelope: Envelope, meta: TowerMeta, settings: Settings) -> Content:
        """The instances.

        Raises:
            RequestError: `instances` is no list or holds other objects, the language is no string, or the
                body is of the V2 protocol.
        """
        if is_kserve_v2(envelope.fields):
            raise RequestError(MALFORMED_REQUEST, refusal(envelope.fields))
        instances = envelope.fields["instances"]
        if not isinstance(instances, list):
            raise RequestError(MALFORMED_REQUEST, '"instances" must be a list')
        if instances and all(isinstance(one, dict) and not _KEYS & one.keys() for one in instances):
            raise RequestError(MALFORMED_REQUEST, f'"instances" holds objects of other keys; {_INSTANCE}')
        language = envelope.fields.get("language")
        if language is not None and not isinstance(language, str):
            raise RequestError(MALFORMED_REQUEST, '"language" must be a string')
        if len(instances) > settings.max_items:
            return Content(instances)
        items = [_instance(instance, meta.tower, settings) for instance in instances]
        return Content(in_language(items, language or "", meta.languages))

    def render(self, envelope: Envelope, outcomes: Sequence[Outcome], meta: TowerMeta) -> Response:
        """A prediction per instance, in their order, and the errors of those that failed."""
        errors = json_errors(outcomes)
        tail = compact({"space": meta.space, **({"errors": errors} if errors else {})})
        return Response(f'{{"predictions":[{json_rows(outcomes)}],{tail[1:]}'.encode(), JSON)

    def refuse(self, envelope: Envelope, error: RequestError, meta: TowerMeta) -> Response:
        """KServe's form of an error, which is a sentence."""
        body = compact({"error": f"{error.code}: {error.message}"})
        return Response(body.encode(), JSON, error.status)


def _instance(instance: Any, tower: str, settings: Settings) -> Payload:
    if isinstance(instance, dict):
        held = [instance[name] for name in _KEYS if name in instance]
        if len(held) != 1:
            return ItemError(INVALID_ITEM, _INSTANCE)
        instance = held[0]
    return json_item(instance, tower, settings)

"""A tower's address, as `babelclip.Client` calls it: POST /predictions/TOWER, or with a version behind."""

from __future__ import annotations

import json
import re

from starlette.requests import Request
from starlette.responses import Response

from gateway import wire_format
from gateway.errors import ApiError
from gateway.http import body
from gateway.http.answers import json_response
from gateway.http.observe import observed_of
from gateway.metrics import Metrics
from gateway.models import Models
from gateway.settings import Settings

PROTOBUF = "application/x-protobuf"
_PATH = re.compile(r"(?P<name>.*?(?:text|vision))(?:/(?P<version>[^/]+))?")


async def answer(request: Request, models: Models, settings: Settings, metrics: Metrics) -> Response:
    """An EmbedRequest → an EmbedResponse.

    Raises:
        ApiError: the request fails as a whole, and not for its own sake.
        CallerGone: the caller hung up.
    """
    try:
        path = request.path_params["tower"]
        found = _PATH.fullmatch(path)
        name, version = (path, None) if found is None else (found["name"], found["version"])
        chosen = wire_format.find(models, name, version)
        observed_of(request.scope).model = chosen.name
        data = await body.read(
            request, max_bytes=settings.max_body_bytes, timeout=settings.body_timeout, kind=PROTOBUF
        )
        tower = wire_format.tower_of(name)
        asked = await body.apart(len(data), wire_format.read, data, tower, settings.max_items)
        version_, outcomes = await body.while_there(request, wire_format.answer(chosen, asked))
    except ApiError as error:
        return _refused(error)
    metrics.items(chosen.name, asked.items, outcomes)
    sent = await body.apart(
        outcomes.vectors.nbytes, wire_format.render, version_, outcomes, canary=asked.canary
    )
    return Response(sent, media_type=PROTOBUF)


def _refused(error: ApiError) -> Response:
    """As the client expects it of a tower, or of TorchServe before it.

    Raises:
        ApiError: the error itself, which says the same in any form.
    """
    if error.status == 404:
        missing = {"code": 404, "type": "ModelNotFoundException", "message": error.message}
        return json_response(json.dumps(missing).encode(), 404)
    refused = wire_format.refusal(error)
    if refused is None:
        raise error
    return Response(refused, error.status, media_type=PROTOBUF)

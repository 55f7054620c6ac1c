"""The addresses of the Open Inference Protocol: the server, its health, a model, and the call."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.errors import malformed
from gateway.http.answers import JSON, json_response, only_post
from gateway.http.dialects import inference
from gateway.http.dialects.binary_tensors import HEADER
from gateway.http.health import Health
from gateway.models import Chosen, Models
from gateway.settings import Settings
from gateway.towers.base import ModelVersion

_SERVER = {"name": "babelclip", "version": "1", "extensions": ["binary_tensor_data"]}
_MODEL = "/v2/models/{model:path}"
_VERSION = f"{_MODEL}/versions/{{version}}"

# `exchange` of gateway.http.app, which reads a body, embeds, and renders the answer.
Exchange = Callable[..., Awaitable[Any]]


def routes(models: Models, settings: Settings, health: Health, exchange: Exchange) -> list[Route]:
    """The routes of the protocol over these models."""
    calls = _Calls(models, settings, health, exchange)
    found = [
        Route("/v2", calls.server, methods=["GET"]),
        Route("/v2/health/live", calls.live, methods=["GET"]),
        Route("/v2/health/ready", calls.ready, methods=["GET"]),
    ]
    for model in (_VERSION, _MODEL):  # The longer one first, for a name may hold a /.
        found += [
            Route(f"{model}/infer", calls.infer, methods=["POST"]),
            Route(f"{model}/infer", only_post, methods=["GET"]),
            Route(f"{model}/ready", calls.model_ready, methods=["GET"]),
            Route(model, calls.model, methods=["GET"]),
        ]
    return found


class _Calls:
    def __init__(self, models: Models, settings: Settings, health: Health, exchange: Exchange) -> None:
        self._models = models
        self._settings = settings
        self._health = health
        self._exchange = exchange

    async def server(self, request: Request) -> Response:
        """GET /v2"""
        return _json(_SERVER)

    async def live(self, request: Request) -> Response:
        """GET /v2/health/live"""
        return _json({"live": True})

    async def ready(self, request: Request) -> Response:
        """GET /v2/health/ready"""
        state = await self._health.state()
        return _ready({}, all(isinstance(found, ModelVersion) for found in state.values()))

    async def model(self, request: Request) -> Response:
        """GET /v2/models/NAME and /v2/models/NAME/versions/VERSION"""
        chosen = self._models.find(_named(request))
        version = await chosen.resolve()
        versions = [known.version for known in chosen.towers.known()]
        return json_response(inference.describe(chosen.name, version, versions))

    async def model_ready(self, request: Request) -> Response:
        """GET /v2/models/NAME/ready, and of a version"""
        chosen = self._models.find(_named(request))
        return _ready({"name": chosen.name}, await self._is_ready(chosen))

    async def infer(self, request: Request) -> Response:
        """POST /v2/models/NAME/infer, and of a version"""
        header = request.headers.get(HEADER)
        read = partial(
            inference.read, header=header, max_items=self._settings.max_items, model=_named(request)
        )
        answer: inference.InferAnswer = await self._exchange(request, read, inference.render, binary=True)
        kind = JSON if answer.json_bytes is None else "application/octet-stream"
        return Response(answer.body, headers=answer.headers, media_type=kind)

    async def _is_ready(self, chosen: Chosen) -> bool:
        default = (await self._health.state())[chosen.name]
        if chosen.version is None or not isinstance(default, ModelVersion):
            return isinstance(default, ModelVersion)
        return (await chosen.resolve()).version == chosen.version


def _named(request: Request) -> str:
    name, version = request.path_params["model"], request.path_params.get("version")
    if not name:
        raise malformed("the address must have a model's name")
    return f"{name}@{version}" if version else str(name)


def _ready(facts: dict[str, Any], ready: bool) -> Response:
    return _json({**facts, "ready": ready}, 200 if ready else 503)


def _json(facts: dict[str, Any], status: int = 200) -> Response:
    return json_response(json.dumps(facts).encode(), status)

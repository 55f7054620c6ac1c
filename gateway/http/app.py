"""The application: which address leads where."""

from __future__ import annotations

import json
import time
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from gateway.access.control import AccessControl
from gateway.embedding import embed
from gateway.errors import ApiError, malformed
from gateway.http import body, document, health, openai
from gateway.http.answers import json_response, of_api_error, of_failure, of_http_error
from gateway.http.body import CallerGone
from gateway.http.guard import Guard, require_scopes
from gateway.http.observe import CALLER_GONE, Observe, observed_of
from gateway.metrics import Metrics
from gateway.models import Models
from gateway.settings import Settings
from gateway.towers.base import ModelVersion


def build(models: Models, settings: Settings, access: AccessControl | None, metrics: Metrics) -> Starlette:
    """The application over these models.

    Args:
        access: whom it lets in; None lets everybody in.
    """
    calls = _Calls(models, settings, metrics)
    routes = [
        Route("/v1/embeddings", calls.embeddings, methods=["POST"]),
        Route("/v1/models", calls.list_models, methods=["GET"]),
        Route("/v1/models/{model:path}", calls.describe_model, methods=["GET"]),
        Route("/healthz", calls.live, methods=["GET"]),
        Route("/livez", calls.live, methods=["GET"]),
        Route("/readyz", calls.ready, methods=["GET"]),
        Route("/openapi.json", calls.openapi, methods=["GET"]),
        Route("/docs", calls.docs, methods=["GET"]),
    ]
    paths = frozenset(route.path for route in routes)
    middleware = [Middleware(Observe, metrics=metrics, paths=paths)]
    if settings.cors_origins:  # Before the guard: a browser's question before the call carries no key.
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(settings.cors_origins),
                allow_methods=["GET", "POST"],
                allow_headers=["Authorization", "Content-Type"],
                expose_headers=["Retry-After", "WWW-Authenticate"],
                max_age=600,
            )
        )
    if access is not None:
        require_scopes(routes)
        middleware.append(Middleware(Guard, access=access))
    return Starlette(
        routes=routes,
        middleware=middleware,
        exception_handlers={
            ApiError: of_api_error,
            CallerGone: _nobody,
            HTTPException: of_http_error,
            Exception: of_failure,
        },
    )


class _Calls:
    """The routes. Each reads in three steps: what is asked, what comes of it, how it is said."""

    def __init__(self, models: Models, settings: Settings, metrics: Metrics) -> None:
        self._models = models
        self._metrics = metrics
        self._settings = settings
        self._health = health.Health(models)
        self._started = int(time.time())
        described = document.describe(settings)
        self._openapi = json.dumps(described).encode()
        self._page = document.page(described)

    async def embeddings(self, request: Request) -> Response:
        """POST /v1/embeddings"""
        settings = self._settings
        data = await body.read(request, max_bytes=settings.max_body_bytes, timeout=settings.body_timeout)
        asked = await body.apart(len(data), lambda: openai.read(body.parse(data), settings.max_items))
        chosen = self._models.find(asked.model)
        observed_of(request.scope).model = chosen.name
        work = embed(chosen, asked.items, space=asked.space, dim=asked.dim)
        version, outcomes = await body.while_there(request, work)
        self._metrics.items(chosen.name, asked.items, outcomes)
        size = outcomes.vectors.nbytes
        answer = await body.apart(size, openai.render, asked, chosen.name, version, outcomes)
        return json_response(answer)

    async def list_models(self, request: Request) -> Response:
        """GET /v1/models"""
        entries = [self._entry(found.name, found.version) for found in await self._models.listed()]
        return json_response(json.dumps({"object": "list", "data": entries}).encode())

    async def describe_model(self, request: Request) -> Response:
        """GET /v1/models/NAME or NAME@VERSION"""
        name = request.path_params["model"]
        if not name:
            raise malformed("the address must end in a model's name")
        version = await self._models.find(name).resolve()
        return json_response(json.dumps(self._entry(name, version)).encode())

    async def live(self, request: Request) -> Response:
        """GET /healthz, /livez"""
        return await health.live()

    async def ready(self, request: Request) -> Response:
        """GET /readyz"""
        return await health.ready(self._health)

    async def openapi(self, request: Request) -> Response:
        """GET /openapi.json"""
        return json_response(self._openapi)

    async def docs(self, request: Request) -> Response:
        """GET /docs"""
        return HTMLResponse(self._page)

    def _entry(self, name: str, version: ModelVersion | ApiError) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "id": name,
            "object": "model",
            "created": self._started,
            "owned_by": "babelclip",
            "modalities": ["text", "image"],
            "limits": {
                "max_items": self._settings.max_items,
                "max_body_bytes": self._settings.max_body_bytes,
            },
        }
        if isinstance(version, ApiError):
            entry["error"] = version.message
        else:
            entry |= {
                "version": version.version,
                "space": version.space,
                "dim": version.dim,
                "logit_scale": version.logit_scale,
            }
        return entry


async def _nobody(request: Request, error: Exception) -> Response:
    return Response(status_code=CALLER_GONE)

"""The application: which address leads where."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import partial
from typing import Any, TypeVar

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.middleware import Middleware
from starlette.middleware.cors import CORSMiddleware
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response
from starlette.routing import Route

from babelclip import Embeddings
from gateway.access.control import AccessControl
from gateway.collections.service import Collections
from gateway.embedding import embed
from gateway.errors import ApiError, malformed
from gateway.http import admin, body, health, inference_routes, page, predictions, scores
from gateway.http.answers import json_response, of_api_error, of_failure, of_http_error, only_post
from gateway.http.body import CallerGone
from gateway.http.collections import routes as collection_routes
from gateway.http.compression import CompressLarge
from gateway.http.dialects import cohere, kserve, openai
from gateway.http.dialects.dialect import EmbedRequest
from gateway.http.guard import Guard, require_scopes
from gateway.http.local import LocalCallers
from gateway.http.observe import CALLER_GONE, Observe, observed_of
from gateway.http.openapi import document
from gateway.http.room import BodyRoom
from gateway.http.session import Session
from gateway.metrics import Metrics
from gateway.models import Models
from gateway.settings import ModelSettings, Settings
from gateway.towers.base import ModelVersion

# The description is text and one style, and needs nothing else.
_PLAIN_PAGE = {
    "Content-Security-Policy": "default-src 'none'; style-src 'unsafe-inline'; frame-ancestors 'none'",
    "X-Content-Type-Options": "nosniff",
}
Asked = TypeVar("Asked", bound=EmbedRequest)
Answer = TypeVar("Answer")


def build(
    models: Models,
    settings: Settings,
    access: AccessControl | None,
    metrics: Metrics,
    collections: Collections | None = None,
) -> Starlette:
    """The application over these models.

    Args:
        access: whom it lets in; None lets everybody in.
        collections: those that it serves; None for none.
    """
    calls = _Calls(models, settings, metrics)
    routes = [
        Route("/v1/embeddings", calls.embeddings, methods=["POST"]),
        *scores.routes(models, settings, metrics),
        Route("/v1/embed", calls.cohere_v1, methods=["POST"]),
        Route("/v2/embed", calls.cohere_v2, methods=["POST"]),
        Route("/v1/models", calls.list_models, methods=["GET"]),
        Route("/v1/models/{model:path}:predict", calls.predict, methods=["POST"]),
        Route("/v1/models/{model:path}:predict", only_post, methods=["GET"]),
        Route("/v1/models/{model:path}", calls.describe_model, methods=["GET"]),
        *inference_routes.routes(models, settings, calls.health, calls.exchange),
        *admin.routes(models, settings),
        *collection_routes.routes(collections, settings),
        Route("/predictions/{tower:path}", calls.predictions, methods=["POST"]),
        Route("/healthz", calls.live, methods=["GET"]),
        Route("/livez", calls.live, methods=["GET"]),
        Route("/readyz", calls.ready, methods=["GET"]),
        Route("/openapi.json", calls.openapi, methods=["GET"]),
        Route("/docs", calls.docs, methods=["GET"]),
        *page.routes(),
    ]
    middleware = [Middleware(Observe, metrics=metrics, routes=routes)]
    if access is None:
        middleware.append(
            Middleware(LocalCallers, hosts=settings.allowed_hosts, origins=settings.cors_origins)
        )
    if settings.cors_origins:  # Before the guard: a browser's question before the call carries no key.
        middleware.append(
            Middleware(
                CORSMiddleware,
                allow_origins=list(settings.cors_origins),
                allow_methods=["GET", "POST", "DELETE"],
                allow_headers=[
                    "Authorization",
                    "Content-Type",
                    "Babelclip-Session",
                    "Babelclip-Track",
                    "Babelclip-Version",
                ],
                expose_headers=["Retry-After", "WWW-Authenticate", "X-Request-Id"],
                max_age=600,
            )
        )
    if access is not None:
        require_scopes(routes)
        middleware.append(Middleware(Guard, access=access))
    middleware.append(Middleware(BodyRoom, most_bytes=settings.max_bodies_bytes))
    middleware.append(Middleware(Session))
    if settings.compress_from_bytes:
        middleware.append(Middleware(CompressLarge, min_bytes=settings.compress_from_bytes, apart=body.apart))
    application = Starlette(
        routes=routes,
        middleware=middleware,
        exception_handlers={
            ApiError: of_api_error,
            CallerGone: _nobody,
            HTTPException: of_http_error,
            Exception: of_failure,
        },
    )
    # It would send a caller to the host that the caller's own header names.
    application.router.redirect_slashes = False
    return application


class _Calls:
    """The routes. Each reads in three steps: what is asked, what comes of it, how it is said."""

    def __init__(self, models: Models, settings: Settings, metrics: Metrics) -> None:
        self._models = models
        self._metrics = metrics
        self._settings = settings
        self.health = health.Health(models)
        self._started = int(time.time())
        described = document.describe(settings)
        self._openapi = json.dumps(described).encode()
        self._page = document.page(described)

    async def embeddings(self, request: Request) -> Response:
        """POST /v1/embeddings"""
        return json_response(await self.exchange(request, self._parsed(openai.read), openai.render))

    async def cohere_v1(self, request: Request) -> Response:
        """POST /v1/embed"""
        read = self._parsed(partial(cohere.read, api="1"))
        return json_response(await self.exchange(request, read, cohere.render))

    async def cohere_v2(self, request: Request) -> Response:
        """POST /v2/embed"""
        return json_response(await self.exchange(request, self._parsed(cohere.read), cohere.render))

    async def predict(self, request: Request) -> Response:
        """POST /v1/models/NAME:predict"""
        read = self._parsed(partial(kserve.read, model=_named(request)))
        return json_response(await self.exchange(request, read, kserve.render))

    async def exchange(
        self,
        request: Request,
        read: Callable[[bytes], Asked],
        render: Callable[[Asked, str, ModelVersion, Embeddings], Answer],
        *,
        binary: bool = False,
    ) -> Answer:
        """A call of any dialect: what `read` finds in a body is embedded, and `render` says what came of it.

        Args:
            binary: whether bytes may follow the JSON of the body.
        """
        settings = self._settings
        data = await body.read(
            request, max_bytes=settings.max_body_bytes, timeout=settings.body_timeout, binary=binary
        )
        asked = await body.apart(len(data), read, data)
        chosen = self._models.find(asked.model)
        observed_of(request.scope).model = chosen.name
        work = embed(
            chosen,
            asked.items,
            language=asked.language,
            space=asked.space,
            dim=asked.dim,
            timeout=asked.timeout,
        )
        version, outcomes = await body.while_there(request, work)
        self._metrics.items(chosen.name, asked.items, outcomes)
        size = outcomes.vectors.nbytes
        return await body.apart(size, render, asked, chosen.name, version, outcomes)

    def _parsed(self, read: Callable[[Any, int], Asked]) -> Callable[[bytes], Asked]:
        return lambda data: read(body.parse(data), self._settings.max_items)

    async def predictions(self, request: Request) -> Response:
        """POST /predictions/TOWER or /predictions/TOWER/VERSION"""
        return await predictions.answer(request, self._models, self._settings, self._metrics)

    async def list_models(self, request: Request) -> Response:
        """GET /v1/models"""
        entries = [self._entry(found.name, found.version) for found in await self._models.listed()]
        # `models` is KServe's list of the same.
        listed = {"object": "list", "data": entries, "models": list(self._models.towers)}
        return json_response(json.dumps(listed).encode())

    async def describe_model(self, request: Request) -> Response:
        """GET /v1/models/NAME or NAME@VERSION"""
        name = _named(request)
        chosen = self._models.find(name)
        version = await chosen.resolve()
        # KServe asks here whether the model is ready.
        ready = await self.health.embeds(chosen.name)
        entry = {**self._entry(name, version), "ready": ready}
        return json_response(json.dumps(entry).encode())

    async def live(self, request: Request) -> Response:
        """GET /healthz, /livez"""
        return await health.live()

    async def ready(self, request: Request) -> Response:
        """GET /readyz"""
        return await health.ready(self.health)

    async def openapi(self, request: Request) -> Response:
        """GET /openapi.json"""
        return json_response(self._openapi)

    async def docs(self, request: Request) -> Response:
        """GET /docs"""
        return HTMLResponse(self._page, headers=_PLAIN_PAGE)

    def _entry(self, name: str, version: ModelVersion | ApiError) -> dict[str, Any]:
        entry: dict[str, Any] = {
            "id": name,
            "name": name,
            "object": "model",
            "created": self._started,
            "owned_by": "babelclip",
            "modalities": ["text", "image"],
            "limits": {
                "max_items": self._settings.max_items,
                "max_body_bytes": self._settings.max_body_bytes,
            },
        }
        told = self._settings.models.get(name.partition("@")[0], ModelSettings())
        if told.license:
            entry["license"] = told.license
        if told.languages:
            entry["languages"] = told.languages
        elif isinstance(version, ModelVersion) and version.languages:
            entry["languages"] = sorted(version.languages)
        if isinstance(version, ModelVersion) and version.languages:
            entry["default_language"] = version.languages[0]
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


def _named(request: Request) -> str:
    name: str = request.path_params["model"]
    if not name:
        raise malformed("the address must have a model's name")
    return name


async def _nobody(request: Request, error: Exception) -> Response:
    return Response(status_code=CALLER_GONE)

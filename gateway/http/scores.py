"""The routes of similarity, classification and reranking; each reads in three steps, as all routes do."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from typing import Any, Protocol, TypeVar

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from gateway.http import body
from gateway.http.answers import json_response
from gateway.http.dialects import classify, rerank, similarity
from gateway.http.observe import observed_of
from gateway.metrics import Metrics
from gateway.models import Chosen, Models
from gateway.scoring.scorer import Scorer
from gateway.settings import Settings

# Bytes that a score of an answer comes to in JSON, roughly.
_PER_SCORE = 40


class _Asked(Protocol):
    @property
    def model(self) -> str: ...


Asked = TypeVar("Asked", bound=_Asked)
Found = TypeVar("Found")


def routes(models: Models, settings: Settings, metrics: Metrics) -> list[Route]:
    """The addresses of these calls.

    Raises:
        ValueError, OSError: a calibration of the settings cannot be used.
    """
    calls = _Calls(models, settings, Scorer(settings, metrics))
    return [
        Route("/v1/similarity", calls.similarity, methods=["POST"]),
        Route("/v1/classify", calls.classify, methods=["POST"]),
        Route("/v1/rerank", calls.rerank, methods=["POST"]),
        Route("/v2/rerank", calls.rerank, methods=["POST"]),
    ]


class _Calls:
    def __init__(self, models: Models, settings: Settings, scorer: Scorer) -> None:
        self._models = models
        self._settings = settings
        self._scorer = scorer

    async def similarity(self, request: Request) -> Response:
        """POST /v1/similarity"""
        asked, found = await self._scored(
            request, similarity.read, lambda chosen, asked: self._scorer.similarity(chosen, asked.request)
        )
        size = found.cosines.size * _PER_SCORE
        return json_response(await body.apart(size, similarity.render, asked, found))

    async def classify(self, request: Request) -> Response:
        """POST /v1/classify"""
        asked, found = await self._scored(
            request, classify.read, lambda chosen, asked: self._scorer.classify(chosen, asked.request)
        )
        size = len(found.answers) * len(asked.request.labels) * _PER_SCORE
        return json_response(await body.apart(size, classify.render, asked, found))

    async def rerank(self, request: Request) -> Response:
        """POST /v1/rerank and /v2/rerank"""
        asked, found = await self._scored(
            request, rerank.read, lambda chosen, asked: self._scorer.rerank(chosen, asked.request)
        )
        api_version = request.url.path[2]
        size = self._settings.max_body_bytes if asked.documents else 0  # Images may be among them.
        return json_response(await body.apart(size, rerank.render, asked, found, api_version))

    async def _scored(
        self,
        request: Request,
        read: Callable[[Any, int], Asked],
        score: Callable[[Chosen, Asked], Coroutine[Any, Any, Found]],
    ) -> tuple[Asked, Found]:
        """What is asked, and what comes of it."""
        settings = self._settings
        data = await body.read(request, max_bytes=settings.max_body_bytes, timeout=settings.body_timeout)
        asked = await body.apart(len(data), lambda: read(body.parse(data), settings.max_items))
        chosen = self._models.find(asked.model)
        observed_of(request.scope).model = chosen.name
        return asked, await body.while_there(request, score(chosen, asked))

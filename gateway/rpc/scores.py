"""The calls of `babelclip.v1.Embedder` that answer with scores (embedder.proto has their contracts)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import grpc

from babelclip import Classification, Embeddings
from gateway.metrics import Metrics
from gateway.models import Chosen, Models
from gateway.rpc import embedder_pb2 as pb
from gateway.rpc.service import CALLER, LEFT, item_errors, read_item, refuse
from gateway.rpc.status import Context
from gateway.scoring.messages import (
    Classified,
    ClassifyRequest,
    Reranked,
    RerankRequest,
    Similarity,
    SimilarityRequest,
)
from gateway.scoring.scorer import Scorer, apart

Found = TypeVar("Found")
Score = Callable[[Chosen, float | None], Awaitable[Found]]


class ScoreCalls:
    """Each call reads in three steps: what is asked, what comes of it, how it is said."""

    def __init__(self, models: Models, scorer: Scorer, metrics: Metrics) -> None:
        self._models = models
        self._scorer = scorer
        self._metrics = metrics

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """The calls by their names."""
        calls: dict[str, tuple[Any, Any, Any]] = {
            "Similarity": (self.similarity, pb.SimilarityRequest, pb.SimilarityResponse),
            "Classify": (self.classify, pb.ClassifyRequest, pb.ClassifyResponse),
            "Rerank": (self.rerank, pb.RerankRequest, pb.RerankResponse),
        }
        return {
            name: grpc.unary_unary_rpc_method_handler(
                call,
                request_deserializer=request.FromString,
                response_serializer=response.SerializeToString,
            )
            for name, (call, request, response) in calls.items()
        }

    async def similarity(self, request: pb.SimilarityRequest, context: Context) -> pb.SimilarityResponse:
        """Every query with every candidate."""
        asked = SimilarityRequest(
            queries=[read_item(item) for item in request.queries],
            candidates=[read_item(item) for item in request.candidates],
            space=request.space,
            language=request.language,
        )
        found: Similarity = await self._scored(
            "Similarity",
            request.model,
            context,
            lambda chosen, timeout: self._scorer.similarity(chosen, asked, timeout),
        )
        return await apart(found.cosines.size, _compared, found)

    async def classify(self, request: pb.ClassifyRequest, context: Context) -> pb.ClassifyResponse:
        """The best label of each item."""
        asked = ClassifyRequest(
            items=[read_item(item) for item in request.items],
            labels=list(request.labels),
            templates=list(request.templates) or None,
            language=request.language or None,
            threshold=request.threshold if request.HasField("threshold") else None,
            space=request.space,
        )
        found: Classified = await self._scored(
            "Classify",
            request.model,
            context,
            lambda chosen, timeout: self._scorer.classify(chosen, asked, timeout),
        )
        return await apart(len(found.answers) * len(asked.labels), _classified, found)

    async def rerank(self, request: pb.RerankRequest, context: Context) -> pb.RerankResponse:
        """The documents, best first."""
        asked = RerankRequest(
            query=read_item(request.query),
            documents=[read_item(item) for item in request.documents],
            top_n=request.top_n or None,
            space=request.space,
            language=request.language,
        )
        found: Reranked = await self._scored(
            "Rerank",
            request.model,
            context,
            lambda chosen, timeout: self._scorer.rerank(chosen, asked, timeout),
        )
        return pb.RerankResponse(
            model=found.model,
            space=found.version.space,
            logit_scale=found.version.logit_scale,
            results=[
                pb.RerankResponse.Result(index=result.index, relevance_score=result.score, match=result.match)
                for result in found.results
            ],
            errors=item_errors(found.documents),
            truncated=found.documents.truncated,
            unknown=found.documents.unknown,
            query_truncated=bool(found.query.truncated),
            query_unknown=bool(found.query.unknown),
        )

    async def _scored(self, call: str, model: str, context: Context, score: Score[Found]) -> Found:
        """What comes of a request, counted; a refusal ends the call."""
        with self._metrics.call(call, left=LEFT) as observed:
            try:
                observed.key = CALLER.get()
                chosen = self._models.find(model)
                observed.model = chosen.name
                found = await score(chosen, context.time_remaining())
            except Exception as error:
                await refuse(context, error, observed)
            observed.status = "OK"
            return found


def _compared(found: Similarity) -> pb.SimilarityResponse:
    return pb.SimilarityResponse(
        model=found.model,
        space=found.version.space,
        logit_scale=found.version.logit_scale,
        cosines=found.cosines.ravel(),
        probabilities=found.probabilities.ravel(),
        matches=() if found.matches is None else found.matches.ravel(),
        queries=_side(found.queries),
        candidates=_side(found.candidates),
    )


def _classified(found: Classified) -> pb.ClassifyResponse:
    return pb.ClassifyResponse(
        model=found.model,
        space=found.version.space,
        logit_scale=found.version.logit_scale,
        classifications=[_classification(answer) for answer in found.answers],
        errors=item_errors(found.items),
        truncated=found.items.truncated,
        unknown=found.items.unknown,
        truncated_labels=found.truncated_labels,
        unknown_labels=found.unknown_labels,
    )


def _side(outcomes: Embeddings) -> pb.SimilarityResponse.Side:
    return pb.SimilarityResponse.Side(
        errors=item_errors(outcomes), truncated=outcomes.truncated, unknown=outcomes.unknown
    )


def _classification(answer: Classification) -> pb.ClassifyResponse.Classification:
    return pb.ClassifyResponse.Classification(
        label=answer.label,
        best=answer.best or "",
        probability=answer.probability,
        match=answer.match,
        cosines=answer.cosines.values(),
        probabilities=answer.probabilities.values(),
    )

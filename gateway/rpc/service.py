"""The calls of `babelclip.v1.Embedder` (embedder.proto has their contracts)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from contextvars import ContextVar
from typing import Any, NoReturn

import grpc
import numpy as np

from babelclip import Embeddings, ItemError
from gateway.access.account import ACCOUNT, STREAMING
from gateway.embedding import Item, embed
from gateway.errors import INVALID_ITEM, ApiError
from gateway.metrics import Metrics, Observed
from gateway.models import Models
from gateway.rpc import embedder_pb2 as pb
from gateway.rpc.status import Context, abort, code_of

SERVICE = "babelclip.v1.Embedder"
# Requests of a stream that are embedded at the same time; the next one is read when the first is answered.
AHEAD = 2
# How a call ended whose caller went away before its answer.
LEFT = grpc.StatusCode.CANCELLED.name
CALLER: ContextVar[str] = ContextVar("caller", default="")
"""The name of the key with which the present call was made."""
_log = logging.getLogger(__name__)


class Embedder:
    """Each call reads in three steps: what is asked, what comes of it, how it is said."""

    def __init__(self, models: Models, max_items: int, metrics: Metrics) -> None:
        self._models = models
        self._metrics = metrics
        self._max_items = max_items

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """The calls by their names."""
        return {
            "Embed": grpc.unary_unary_rpc_method_handler(
                self.embed,
                request_deserializer=pb.EmbedItemsRequest.FromString,
                response_serializer=pb.EmbedItemsResponse.SerializeToString,
            ),
            "EmbedStream": grpc.stream_stream_rpc_method_handler(
                self.embed_stream,
                request_deserializer=pb.EmbedItemsRequest.FromString,
                response_serializer=pb.EmbedItemsResponse.SerializeToString,
            ),
            "Models": grpc.unary_unary_rpc_method_handler(
                self.models,
                request_deserializer=pb.ModelsRequest.FromString,
                response_serializer=pb.ModelsResponse.SerializeToString,
            ),
        }

    async def embed(self, request: pb.EmbedItemsRequest, context: Context) -> pb.EmbedItemsResponse:
        """One request, one answer."""
        with self._metrics.call("Embed", left=LEFT) as observed:
            try:
                return await self._embed(request, context.time_remaining(), observed)
            except Exception as error:
                await refuse(context, error, observed)

    async def embed_stream(
        self, requests: AsyncIterator[pb.EmbedItemsRequest], context: Context
    ) -> AsyncIterator[pb.EmbedItemsResponse]:
        """An answer to each request, in their order."""
        under_way: asyncio.Queue[asyncio.Future[pb.EmbedItemsResponse] | None] = asyncio.Queue(AHEAD - 1)
        tasks: set[asyncio.Future[Any]] = set()

        async def read() -> None:
            account, first = ACCOUNT.get(), True
            try:
                async for request in requests:
                    if account is not None and not first:  # The call itself has counted for the first.
                        await account.keep_pace()
                    first = False
                    task = asyncio.create_task(self._embed(request, context.time_remaining(), observed))
                    tasks.add(task)
                    task.add_done_callback(tasks.discard)
                    await under_way.put(task)
                await under_way.put(None)
            except Exception as error:  # The stream ends with it, after the answers to what came before.
                failed = asyncio.get_running_loop().create_future()
                failed.set_exception(error)
                tasks.add(failed)
                await under_way.put(failed)

        STREAMING.set(True)
        with self._metrics.call("EmbedStream", left=LEFT) as observed:
            reading = asyncio.create_task(read())
            try:
                while (task := await under_way.get()) is not None:
                    yield await task
            except Exception as error:
                await refuse(context, error, observed)
            finally:
                for each in (reading, *tasks):
                    each.cancel()
                await asyncio.gather(reading, *tasks, return_exceptions=True)

    async def models(self, request: pb.ModelsRequest, context: Context) -> pb.ModelsResponse:
        """The models and the versions that are known."""
        with self._metrics.call("Models", left=LEFT) as observed:
            try:
                listed = await self._models.listed()
            except Exception as error:
                await refuse(context, error, observed)
            observed.key, observed.status = CALLER.get(), "OK"
        response = pb.ModelsResponse()
        for found in listed:
            if isinstance(found.version, ApiError):
                response.models.add(name=found.name, problem=found.version.message)
            else:
                version = found.version
                response.models.add(
                    name=found.name,
                    version=version.version,
                    space=version.space,
                    dim=version.dim,
                    logit_scale=version.logit_scale,
                    languages=version.languages,
                )
        return response

    async def _embed(
        self, request: pb.EmbedItemsRequest, timeout: float | None, observed: Observed
    ) -> pb.EmbedItemsResponse:
        observed.key = CALLER.get()
        if not request.items:
            raise ApiError(400, "empty_request", "the request must hold at least one item", param="items")
        if len(request.items) > self._max_items:
            message = (
                f"the request holds {len(request.items):,} items; at most {self._max_items:,} are allowed"
            )
            raise ApiError(413, "too_many_items", message, param="items")
        chosen = self._models.find(request.model)
        observed.model = chosen.name
        items = [read_item(item) for item in request.items]
        version, outcomes = await embed(
            chosen, items, language=request.language, space=request.space, timeout=timeout
        )
        self._metrics.items(chosen.name, items, outcomes)
        observed.status = "OK"
        return pb.EmbedItemsResponse(
            model=f"{chosen.name}@{version.version}" if version.version else chosen.name,
            space=version.space,
            dim=version.dim,
            logit_scale=version.logit_scale,
            vectors=np.asarray(outcomes.vectors, dtype="<f4").tobytes(),
            errors=item_errors(outcomes),
            truncated=outcomes.truncated,
            unknown=outcomes.unknown,
            tokens=outcomes.tokens,
        )


def read_item(item: pb.Item) -> Item:
    """A text, an encoded image, or why it is neither."""
    kind = item.WhichOneof("kind")
    if kind is None:
        return ItemError(0, INVALID_ITEM, "the item holds neither a text nor an image")
    return item.text if kind == "text" else item.image


def item_errors(outcomes: Embeddings) -> list[pb.EmbedItemsResponse.ItemError]:
    """The errors of items, as the protocol has them."""
    return [
        pb.EmbedItemsResponse.ItemError(index=error.index, code=error.code, message=error.message)
        for error in outcomes.errors
    ]


async def refuse(context: Context, error: Exception, observed: Observed) -> NoReturn:
    """End the call. The log has all of a mistake of ours, and the caller nothing, whom gRPC would tell."""
    if not isinstance(error, ApiError):
        _log.error("a call failed", exc_info=error)
        error = ApiError(500, "internal", "an unexpected failure of the gateway; its log says more")
    elif error.__cause__ is not None:
        _log.warning("%s: %s", error.code, error.__cause__)
    observed.status = code_of(error).name
    await abort(context, error)

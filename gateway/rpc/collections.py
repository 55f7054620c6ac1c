"""The calls of `babelclip.v1.Collections` (collections.proto has their contracts)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import replace
from typing import Any, TypeVar

import grpc
from google.protobuf.json_format import MessageToDict, SerializeToJsonError
from google.protobuf.struct_pb2 import Struct

from babelclip import ItemError
from babelclip.index import Row
from gateway.access.account import ACCOUNT, STREAMING
from gateway.collections.job_files import Job
from gateway.collections.job_kinds import needs_admin
from gateway.collections.messages import (
    CollectionState,
    LabelRequest,
    NewItem,
    Outcome,
    SearchRequest,
    SearchResult,
    Term,
)
from gateway.collections.service import Collections
from gateway.errors import INVALID_ITEM, ApiError, malformed
from gateway.metrics import Metrics
from gateway.rpc import collections_pb2 as pb
from gateway.rpc.service import CALLER, LEFT, refuse
from gateway.rpc.status import Context

SERVICE = "babelclip.v1.Collections"
_TRIES = 20  # of items that find no room at the model
_EXACT = 2**53
Asked = TypeVar("Asked")
Answer = TypeVar("Answer")


class CollectionCalls:
    """Each call reads in three steps: what is asked, what comes of it, how it is said."""

    def __init__(self, collections: Collections, max_items: int, metrics: Metrics) -> None:
        self._collections = collections
        self._max_items = max_items
        self._metrics = metrics

    def handlers(self) -> dict[str, grpc.RpcMethodHandler[Any, Any]]:
        """The calls by their names."""
        calls: dict[str, tuple[Callable[[Any], Awaitable[Any]], Any]] = {
            "Create": (self._create, pb.CreateCollectionRequest),
            "List": (self._list, pb.ListCollectionsRequest),
            "Get": (self._get, pb.GetCollectionRequest),
            "Delete": (self._delete, pb.DeleteCollectionRequest),
            "ListItems": (self._list_items, pb.ListItemsRequest),
            "DeleteItems": (self._delete_items, pb.DeleteItemsRequest),
            "Search": (self._search, pb.SearchRequest),
            "Similar": (self._similar, pb.SimilarRequest),
            "Classify": (self._classify, pb.LabelRequest),
            "StartJob": (self._start_job, pb.StartJobRequest),
            "ListJobs": (self._list_jobs, pb.ListJobsRequest),
            "GetJob": (self._get_job, pb.GetJobRequest),
            "CancelJob": (self._cancel_job, pb.CancelJobRequest),
        }
        unary: dict[str, grpc.RpcMethodHandler[Any, Any]] = {
            name: grpc.unary_unary_rpc_method_handler(
                self._answering(f"Collections/{name}", call),
                request_deserializer=request.FromString,
                response_serializer=lambda answer: answer.SerializeToString(),
            )
            for name, (call, request) in calls.items()
        }
        adding = grpc.stream_stream_rpc_method_handler(
            self.add_items,
            request_deserializer=pb.AddItemsRequest.FromString,
            response_serializer=pb.AddItemsResponse.SerializeToString,
        )
        return {**unary, "AddItems": adding}

    async def add_items(
        self, requests: AsyncIterator[pb.AddItemsRequest], context: Context
    ) -> AsyncIterator[pb.AddItemsResponse]:
        """An answer to each request, in their order."""
        STREAMING.set(True)
        account = ACCOUNT.get()
        with self._metrics.call("Collections/AddItems", left=LEFT) as observed:
            observed.key = CALLER.get()
            try:
                name, first = "", True
                async for request in requests:
                    if account is not None and not first:  # The call itself has counted for the first.
                        await account.keep_pace()
                    first = False
                    name = request.collection or name
                    if not request.items:
                        raise ApiError(400, "empty_request", "a request must hold items", param="items")
                    if len(request.items) > self._max_items:
                        message = f"the request holds more than {self._max_items:,} items"
                        raise ApiError(413, "too_many_items", message, param="items")
                    outcomes = await self._added(name, [_new_item(item) for item in request.items])
                    yield pb.AddItemsResponse(outcomes=[_outcome(one) for one in outcomes])
            except Exception as error:
                await refuse(context, error, observed)
            observed.status = "OK"

    async def _added(self, name: str, items: Sequence[NewItem]) -> list[Outcome]:
        for _ in range(_TRIES):
            try:
                return await self._collections.adding.add(name, items)
            except ApiError as error:
                if error.retry_after is None:
                    raise
                await asyncio.sleep(error.retry_after)
        return await self._collections.adding.add(name, items)

    def _answering(
        self, name: str, call: Callable[[Asked], Awaitable[Answer]]
    ) -> Callable[[Asked, Context], Awaitable[Answer]]:
        """A call that is counted; a refusal ends it."""

        async def answer(request: Asked, context: Context) -> Answer:
            with self._metrics.call(name, left=LEFT) as observed:
                observed.key = CALLER.get()
                try:
                    found = await call(request)
                except Exception as error:
                    await refuse(context, error, observed)
                observed.status = "OK"
                return found

        return answer

    async def _create(self, request: pb.CreateCollectionRequest) -> pb.Collection:
        return _collection(await self._collections.create(request.name, dict(request.fields), request.model))

    async def _list(self, request: pb.ListCollectionsRequest) -> pb.ListCollectionsResponse:
        found = await self._collections.listed()
        return pb.ListCollectionsResponse(collections=[_collection(one) for one in found])

    async def _get(self, request: pb.GetCollectionRequest) -> pb.Collection:
        return _collection(await self._collections.describe(request.name))

    async def _delete(self, request: pb.DeleteCollectionRequest) -> pb.DeleteCollectionResponse:
        await self._collections.delete(request.name)
        return pb.DeleteCollectionResponse()

    async def _list_items(self, request: pb.ListItemsRequest) -> pb.ListItemsResponse:
        where = _plain(request.filter, "filter") if request.HasField("filter") else None
        rows, following = await self._collections.items(
            request.collection,
            after=request.after,
            limit=request.limit or 100,
            where=where,
            failed=request.failed if request.HasField("failed") else None,
        )
        return pb.ListItemsResponse(items=[_item(row) for row in rows], next_after=following)

    async def _delete_items(self, request: pb.DeleteItemsRequest) -> pb.DeleteItemsResponse:
        ids, where = _selection(request)
        return pb.DeleteItemsResponse(
            deleted=await self._collections.delete_items(request.collection, ids, where)
        )

    async def _search(self, request: pb.SearchRequest) -> pb.SearchResponse:
        if bool(request.query) == bool(request.terms):
            raise malformed("the request must hold either a query or terms", "query")
        terms = [_term(term, index) for index, term in enumerate(request.terms)]
        asked = replace(_options(request.options, request.query, terms), language=request.language)
        return _found(await self._collections.searching.search(request.collection, asked))

    async def _similar(self, request: pb.SimilarRequest) -> pb.SearchResponse:
        asked = _options(request.options, "", [])
        return _found(await self._collections.searching.similar(request.collection, request.id, asked))

    async def _classify(self, request: pb.LabelRequest) -> pb.LabelResponse:
        ids, where = _selection(request)
        asked = LabelRequest(
            labels=list(request.labels),
            ids=ids,
            where=where,
            templates=list(request.templates) or None,
            language=request.language or None,
            threshold=request.threshold if request.HasField("threshold") else None,
        )
        found = await self._collections.searching.label(request.collection, asked)
        items = [
            pb.LabelResponse.Item(
                id=known,
                label=answer.label,
                best=answer.best or "",
                probability=answer.probability,
                match=answer.match,
            )
            for known, answer in found.answers
        ]
        return pb.LabelResponse(space=found.settings.space, version=found.settings.version, items=items)

    async def _start_job(self, request: pb.StartJobRequest) -> pb.Job:
        account = ACCOUNT.get()
        if account is not None and needs_admin(request.kind):
            account.require("admin")
        parameters = _plain(request.parameters, "parameters")
        return _job(await self._collections.jobs.start(request.collection, request.kind, parameters))

    async def _list_jobs(self, request: pb.ListJobsRequest) -> pb.ListJobsResponse:
        found = await self._collections.jobs.listed()
        return pb.ListJobsResponse(jobs=[_job(one, with_result=False) for one in found])

    async def _get_job(self, request: pb.GetJobRequest) -> pb.Job:
        return _job(await self._collections.jobs.find(request.id))

    async def _cancel_job(self, request: pb.CancelJobRequest) -> pb.Job:
        return _job(await self._collections.jobs.cancel(request.id))


def _plain(struct: Struct, field: str) -> dict[str, Any]:
    """A Struct as JSON has it: whole numbers are whole again, which a Struct has as floating point.

    Raises:
        ApiError: it holds what JSON cannot, such as a number that is none.
    """
    try:
        found: dict[str, Any] = _whole(MessageToDict(struct))
    except (ValueError, RecursionError, SerializeToJsonError):
        raise malformed(
            f"{field} holds a number that is not finite, or is nested too deeply", field
        ) from None
    return found


def _whole(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _whole(one) for name, one in value.items()}
    if isinstance(value, list):
        return [_whole(one) for one in value]
    # Beyond this a float has no single whole number that it stands for.
    is_whole = isinstance(value, float) and value.is_integer() and abs(value) <= _EXACT
    return int(value) if is_whole else value


def _struct(value: Any) -> Struct:
    struct = Struct()
    struct.update(dict(value))
    return struct


def _selection(request: Any) -> tuple[list[str] | None, dict[str, Any] | None]:
    """The ids or the filter of a request, which must hold one of them."""
    if bool(request.ids) == request.HasField("filter"):
        raise malformed("the request must hold either ids or a filter", "ids")
    return (list(request.ids), None) if request.ids else (None, _plain(request.filter, "filter"))


def _new_item(item: pb.NewItem) -> NewItem:
    try:
        metadata = _plain(item.metadata, "metadata")
    except ApiError as error:
        return NewItem(ItemError(0, INVALID_ITEM, error.message), id=item.id)
    return NewItem(item.image, id=item.id, source=item.source, caption=item.caption, metadata=metadata)


def _term(term: pb.Term, index: int) -> Term:
    kind = term.WhichOneof("kind")
    weight = term.weight if term.HasField("weight") else 1.0
    if kind is None:
        raise malformed(f"terms[{index}] must hold a text, an image or an id", "terms")
    if kind == "text":
        return Term(text=term.text, weight=weight)
    return Term(image=term.image, weight=weight) if kind == "image" else Term(like=term.id, weight=weight)


def _options(options: pb.SearchOptions, query: str, terms: Sequence[Term]) -> SearchRequest:
    own = options.threshold if options.HasField("threshold") else "auto"
    return SearchRequest(
        query=query,
        terms=terms,
        top=options.top or 20,
        offset=options.offset,
        where=_plain(options.filter, "filter") if options.HasField("filter") else None,
        diverse=not options.every,
        threshold=None if options.no_threshold else own,  # type: ignore[arg-type]  # auto, or a number
        cut=options.cut,
    )


def _item(row: Row) -> pb.ListItemsResponse.Item:
    return pb.ListItemsResponse.Item(
        id=row.id,
        source=row.source,
        kind=row.kind,
        begin=row.begin,
        end=row.end,
        caption=row.caption,
        width=row.width,
        height=row.height,
        taken=row.taken,
        metadata=_struct(row.metadata),
        code=row.error_code,
        message=row.error_message,
    )


def _collection(found: CollectionState) -> pb.Collection:
    told = pb.Collection(name=found.record.name, model=found.record.model, state=found.state)
    if found.info is not None:
        settings = found.info.settings
        told.version, told.space, told.dim = settings.version, settings.space, settings.dim
        told.items, told.failed, told.method = found.info.rows, found.info.failed, found.info.method
        told.fields.update(settings.fields)
        if found.info.recall_at_10 is not None:
            told.recall_at_10 = found.info.recall_at_10
    return told


def _outcome(found: Outcome) -> pb.AddItemsResponse.Outcome:
    return pb.AddItemsResponse.Outcome(id=found.id, code=found.code, message=found.message)


def _found(found: SearchResult) -> pb.SearchResponse:
    results = found.results
    hits = [
        pb.SearchResponse.Hit(
            id=hit.row.id,
            score=hit.cosine,
            match=hit.probability,
            source=hit.row.source,
            kind=hit.row.kind,
            begin=hit.row.begin,
            end=hit.row.end,
            caption=hit.row.caption,
            width=hit.row.width,
            height=hit.row.height,
            taken=hit.row.taken,
            metadata=_struct(hit.row.metadata),
            duplicates=hit.duplicates,
        )
        for hit in results.hits
    ]
    return pb.SearchResponse(
        space=found.settings.space,
        version=found.settings.version,
        threshold=results.threshold,
        fits=results.fits,
        hits=hits,
        next_offset=results.next_offset,
    )


def _job(found: Job, *, with_result: bool = True) -> pb.Job:
    told = pb.Job(
        id=found.id,
        collection=found.collection,
        kind=found.kind,
        state=found.state,
        done=found.done,
        total=found.total,
        code=found.code,
        message=found.message,
        created=found.created,
        updated=found.updated,
    )
    if with_result and found.result is not None:
        told.result.CopyFrom(_struct(found.result))
    return told

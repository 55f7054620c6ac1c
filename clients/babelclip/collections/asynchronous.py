"""The client of a collection, for an event loop: `CollectionClient` with `await`."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from babelclip.client.flows import drive_async
from babelclip.client.items import ImageInput
from babelclip.client.retry import Backoff
from babelclip.collections import bodies, exchange
from babelclip.collections.core import BaseCollectionClient, Flow
from babelclip.collections.exchange import MOST_BYTES, Answer, Request
from babelclip.collections.messages import (
    AddOutcome,
    CollectionInfo,
    CollectionItem,
    CollectionResults,
    Content,
    ItemLabel,
    ItemPage,
    Job,
    NewItem,
)
from babelclip.errors import DeadlineExceeded
from babelclip.index.filters import Filter
from babelclip.search.answering import Threshold
from babelclip.search.query import Term
from babelclip.transports.base import Tls

Result = TypeVar("Result")


class AsyncCollectionClient(BaseCollectionClient):
    """A connection to one collection of a gateway, used within one event loop. Close it, or use `async with`.

    The arguments, and what is raised, are as in `babelclip.collections.CollectionClient`.
    """

    def __init__(
        self,
        url: str,
        name: str,
        *,
        token: str | None = None,
        token_file: str | os.PathLike[str] | None = None,
        timeout: float = 30.0,
        backoff: Backoff | None = None,
        tls: Tls | None = None,
    ) -> None:
        super().__init__(
            url, name, token=token, token_file=token_file, timeout=timeout, backoff=backoff, tls=tls
        )
        try:
            self._http = httpx.AsyncClient(**self._connection)
        except (ValueError, ImportError, httpx.InvalidURL):
            if self._connection["proxy"] is None:
                raise
            raise exchange.unusable_proxy(self._connection["proxy"]) from None

    async def create(self, *, fields: Mapping[str, str] | None = None, model: str = "") -> CollectionInfo:
        """See `CollectionClient.create`."""
        return await self._drive(self._create(fields or {}, model))

    async def info(self) -> CollectionInfo:
        """See `CollectionClient.info`."""
        return await self._drive(self._info())

    async def drop(self) -> None:
        """See `CollectionClient.drop`."""
        await self._drive(self._drop())

    async def add(self, items: Iterable[NewItem]) -> list[AddOutcome]:
        """See `CollectionClient.add`; files are read and pixels encoded in threads."""
        pieces = bodies.pieces(iter(items))
        outcomes: list[AddOutcome] = []
        while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
            outcomes += await self._drive(self._add(piece))
        return outcomes

    async def get(self, item: str) -> CollectionItem:
        """See `CollectionClient.get`."""
        return await self._drive(self._get(item))

    async def items(
        self,
        *,
        after: str = "",
        limit: int = 100,
        where: Filter | None = None,
        failed: bool | None = None,
    ) -> ItemPage:
        """See `CollectionClient.items`."""
        return await self._drive(self._items(after, limit, where, failed))

    async def delete(self, ids: Sequence[str] | None = None, *, where: Filter | None = None) -> int:
        """See `CollectionClient.delete`."""
        return await self._drive(self._delete(ids, where))

    async def search(
        self,
        query: str | Sequence[Term],
        *,
        top: int = 10,
        offset: int = 0,
        where: Filter | None = None,
        diverse: bool = True,
        threshold: Threshold = "auto",
        language: str = "",
    ) -> CollectionResults:
        """See `CollectionClient.search`; a file is read in a thread."""
        body = await asyncio.to_thread(bodies.query, query, language)
        return await self._drive(
            self._search(body, top=top, offset=offset, where=where, diverse=diverse, threshold=threshold)
        )

    async def similar(
        self,
        item: str,
        *,
        top: int = 10,
        offset: int = 0,
        where: Filter | None = None,
        diverse: bool = True,
        threshold: Threshold = "auto",
    ) -> CollectionResults:
        """See `CollectionClient.similar`."""
        return await self._drive(
            self._similar(item, top=top, offset=offset, where=where, diverse=diverse, threshold=threshold)
        )

    async def classify(
        self,
        labels: Sequence[str],
        *,
        ids: Sequence[str] | None = None,
        where: Filter | None = None,
        language: str | None = None,
        templates: Sequence[str] | None = None,
    ) -> list[ItemLabel]:
        """See `CollectionClient.classify`."""
        return await self._drive(
            self._classify(labels, ids=ids, where=where, language=language, templates=templates)
        )

    async def classify_image(
        self, image: ImageInput, labels: Sequence[str], *, language: str | None = None
    ) -> ItemLabel:
        """See `CollectionClient.classify_image`; a file is read in a thread."""
        body = await asyncio.to_thread(bodies.image, image, labels, language)
        return await self._drive(self._classify_image(body))

    async def thumbnail(self, item: str) -> Content:
        """See `CollectionClient.thumbnail`."""
        return await self._drive(self._thumbnail(item))

    async def content(self, item: str, *, most_bytes: int = MOST_BYTES) -> Content:
        """See `CollectionClient.content`."""
        return await self._drive(self._content(item, most_bytes))

    async def start_job(self, kind: str, **parameters: Any) -> Job:
        """See `CollectionClient.start_job`."""
        return await self._drive(self._start_job(kind, parameters))

    async def job(self, job: str) -> Job:
        """See `CollectionClient.job`."""
        return await self._drive(self._job(job))

    async def cancel_job(self, job: str) -> Job:
        """See `CollectionClient.cancel_job`."""
        return await self._drive(self._cancel_job(job))

    async def close(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _drive(self, flow: Flow[Result]) -> Result:
        async def carry_out(step: Request | float) -> Answer | None:
            if isinstance(step, Request):
                return await self._send(step)
            await asyncio.sleep(step)
            return None

        return await drive_async(flow, carry_out)

    async def _send(self, request: Request) -> Answer:
        try:
            # httpx limits each wait, not their sum.
            async with asyncio.timeout(request.timeout):
                return await self._receive(request)
        except TimeoutError:
            raise DeadlineExceeded(
                f"no complete answer from {self.url} within {request.timeout:.3g} s"
            ) from None
        except httpx.HTTPError as error:
            raise exchange.failed(self.url, request, error) from error

    async def _receive(self, request: Request) -> Answer:
        received = bytearray()
        async with self._http.stream(
            request.method,
            self.url + request.path,
            json=request.body,
            headers=request.headers(),
            timeout=request.timeout,
        ) as response:
            async for chunk in response.aiter_bytes():
                received += chunk
                if len(received) > request.most_bytes:
                    raise exchange.too_large(self.url, request)
        return Answer(response.status_code, bytes(received), dict(response.headers))

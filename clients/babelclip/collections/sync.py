"""The client of a collection, for threads."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping, Sequence
from types import TracebackType
from typing import Any, Self, TypeVar

import httpx

from babelclip.client.flows import drive
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


class CollectionClient(BaseCollectionClient):
    """A connection to one collection of a gateway. Safe to use from several threads. Close it, or use `with`.

    Args:
        url: of the gateway, `http://host:8000` or `https://…`.
        name: of the collection.
        token: a caller's key; default: the variable BABELCLIP_TOKEN. Searches need the scope `search`, and
            what changes a collection `write`.
        token_file: a file with the key; default: the variable BABELCLIP_TOKEN_FILE.
        timeout: seconds for each call, repetitions included.
        backoff: how often, and how patiently, to try again while the gateway has no room.
        tls: a certificate authority of your own, and a certificate to show, for https://.

    Raises:
        ValueError: the address is none of HTTP, or an argument is out of range.

    Every call raises AuthenticationError for a refused key; RequestRefused, whose `code` says what was wrong,
    such as `collection_not_found`, `item_not_found` or `malformed_request`; and another BabelclipError where
    there is no usable answer.
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
            self._http = httpx.Client(**self._connection)
        except (ValueError, ImportError, httpx.InvalidURL):
            if self._connection["proxy"] is None:
                raise
            raise exchange.unusable_proxy(self._connection["proxy"]) from None

    def create(self, *, fields: Mapping[str, str] | None = None, model: str = "") -> CollectionInfo:
        """Make the collection.

        Args:
            fields: what items can be filtered by beside what every item has: {"album": "text"}; types are
                text, integer, number and boolean.
            model: at the gateway; "" for its default.

        Raises:
            RequestRefused: `collection_exists`, or as above.
        """
        return self._drive(self._create(fields or {}, model))

    def info(self) -> CollectionInfo:
        """What the collection is, and how much is in it."""
        return self._drive(self._info())

    def drop(self) -> None:
        """Delete the collection, and all that is in it."""
        self._drive(self._drop())

    def add(self, items: Iterable[NewItem]) -> list[AddOutcome]:
        """N images, sent in pieces → N outcomes, in order; one that fails leaves the others alone.

        An image that cannot be read here is an outcome, too. When a piece is refused as a whole, what was
        sent before it is in the collection.
        """
        outcomes: list[AddOutcome] = []
        for piece in bodies.pieces(iter(items)):
            outcomes += self._drive(self._add(piece))
        return outcomes

    def get(self, item: str) -> CollectionItem:
        """One item, by its id."""
        return self._drive(self._get(item))

    def items(
        self,
        *,
        after: str = "",
        limit: int = 100,
        where: Filter | None = None,
        failed: bool | None = None,
    ) -> ItemPage:
        """What is in the collection, page by page, in the order of the ids.

        Args:
            after: `next_after` of the page before.
            limit: items of a page, up to 1,000.
            where: only items that this filter keeps.
            failed: True for those alone that have no vector, False for all others, None for both.
        """
        return self._drive(self._items(after, limit, where, failed))

    def delete(self, ids: Sequence[str] | None = None, *, where: Filter | None = None) -> int:
        """Delete items by their ids, or all that a filter keeps; returns how many there were."""
        return self._drive(self._delete(ids, where))

    def search(
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
        """The items that fit best, best first.

        Args:
            query: a text, see `babelclip.search.query.parse_query`, or terms.
            top, offset: how many, after the place that `next_offset` of the page before names.
            where: only items that this filter keeps.
            diverse: give a burst of near-duplicates one place.
            threshold: the least cosine of a hit. "auto": what the gateway's calibration says; without one
                there is no threshold. None: all items are hits.
            language: that of the texts, by BCP 47, for a model that is told it; "" for its default.

        Raises:
            InvalidQuery: the query says nothing, an image of it cannot be read, or the threshold is none.
            RequestRefused: as above.
        """
        return self._drive(
            self._search(
                bodies.query(query, language),
                top=top,
                offset=offset,
                where=where,
                diverse=diverse,
                threshold=threshold,
            )
        )

    def similar(
        self,
        item: str,
        *,
        top: int = 10,
        offset: int = 0,
        where: Filter | None = None,
        diverse: bool = True,
        threshold: Threshold = "auto",
    ) -> CollectionResults:
        """More like the item of this id, which is not among them. As `search`."""
        return self._drive(
            self._similar(item, top=top, offset=offset, where=where, diverse=diverse, threshold=threshold)
        )

    def classify(
        self,
        labels: Sequence[str],
        *,
        ids: Sequence[str] | None = None,
        where: Filter | None = None,
        language: str | None = None,
        templates: Sequence[str] | None = None,
    ) -> list[ItemLabel]:
        """Labels, in any language → the label of each item that has a vector, or none of them.

        Args:
            ids, where: which items; exactly one of them.
            language, templates: the sentences that labels are put into, as in `babelclip.Classifier`.
        """
        return self._drive(
            self._classify(labels, ids=ids, where=where, language=language, templates=templates)
        )

    def classify_image(
        self, image: ImageInput, labels: Sequence[str], *, language: str | None = None
    ) -> ItemLabel:
        """Labels → that of an image that is no item, by the model of the collection.

        Raises:
            InvalidQuery: the image cannot be read.
        """
        return self._drive(self._classify_image(bodies.image(image, labels, language)))

    def thumbnail(self, item: str) -> Content:
        """A small JPEG of an item."""
        return self._drive(self._thumbnail(item))

    def content(self, item: str, *, most_bytes: int = MOST_BYTES) -> Content:
        """The original of an item, where the gateway gives it.

        Raises:
            RequestRefused: `item_not_found`; or `response_too_large`, it has more than `most_bytes`.
        """
        return self._drive(self._content(item, most_bytes))

    def start_job(self, kind: str, **parameters: Any) -> Job:
        """Begin what takes longer: `dedup`, `compact` or `import`, with its parameters."""
        return self._drive(self._start_job(kind, parameters))

    def job(self, job: str) -> Job:
        """How far a job is."""
        return self._drive(self._job(job))

    def cancel_job(self, job: str) -> Job:
        """Have a job end as soon as it can."""
        return self._drive(self._cancel_job(job))

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _drive(self, flow: Flow[Result]) -> Result:
        def carry_out(step: Request | float) -> Answer | None:
            if isinstance(step, Request):
                return self._send(step)
            time.sleep(step)
            return None

        return drive(flow, carry_out)

    def _send(self, request: Request) -> Answer:
        deadline = time.monotonic() + request.timeout
        received = bytearray()
        try:
            with self._http.stream(
                request.method,
                self.url + request.path,
                json=request.body,
                headers=request.headers(),
                timeout=request.timeout,
            ) as response:
                for chunk in response.iter_bytes():
                    received += chunk
                    if len(received) > request.most_bytes:
                        raise exchange.too_large(self.url, request)
                    # httpx limits each wait, not their sum; without this a trickle would never end.
                    if time.monotonic() > deadline:
                        raise DeadlineExceeded(
                            f"no complete answer from {self.url} within {request.timeout:.3g} s"
                        )
        except httpx.HTTPError as error:
            raise exchange.failed(self.url, request, error) from error
        return Answer(response.status_code, bytes(received), dict(response.headers))

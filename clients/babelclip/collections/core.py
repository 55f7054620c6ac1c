"""What both clients of a collection are, without input or output: settings, and the course of every call.

A course is a generator, as in `babelclip.client.core`: it yields a `Request` that is to be sent, and is sent
the answer or thrown the error; or it yields seconds to sleep.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeVar
from urllib.parse import quote

from babelclip.client.credentials import Credentials
from babelclip.client.retry import Backoff, RetryState
from babelclip.collections import answers, bodies
from babelclip.collections.exchange import Answer, Busy, Request, checked, foreign, parsed, settings
from babelclip.collections.messages import (
    AddOutcome,
    CollectionInfo,
    CollectionItem,
    CollectionResults,
    Content,
    ItemLabel,
    ItemPage,
    Job,
)
from babelclip.errors import AuthenticationError, Unavailable
from babelclip.index.filters import Filter
from babelclip.search.answering import Threshold
from babelclip.transports.base import Tls

Result = TypeVar("Result")
Flow = Generator[Request | float, Answer | None, Result]

PREFIX = "/v1/collections"


class BaseCollectionClient:
    """See `babelclip.collections.CollectionClient` for the arguments."""

    def __init__(
        self,
        url: str,
        name: str,
        *,
        token: str | None,
        token_file: str | os.PathLike[str] | None,
        timeout: float,
        backoff: Backoff | None,
        tls: Tls | None,
    ) -> None:
        if not name:
            raise ValueError("name the collection")
        if not timeout > 0:
            raise ValueError(f"timeout must be more than 0 seconds, not {timeout}")
        self.name = name
        self.url, self._connection = settings(url, tls)
        self._credentials = Credentials(token, token_file)
        self._timeout = timeout
        self._backoff = backoff or Backoff()
        self._path = f"{PREFIX}/{quote(name, safe='')}"

    def _create(self, fields: Mapping[str, str], model: str) -> Flow[CollectionInfo]:
        body = {"name": self.name, "fields": dict(fields), **({"model": model} if model else {})}
        request = Request("POST", PREFIX, body, repeatable=False)
        return self._ask(request, self._reading(answers.collection))

    def _info(self) -> Flow[CollectionInfo]:
        return self._ask(Request("GET", self._path), self._reading(answers.collection))

    def _drop(self) -> Flow[None]:
        return self._ask(Request("DELETE", self._path, repeatable=False), _nothing)

    def _add(self, piece: bodies.Piece) -> Flow[list[AddOutcome]]:
        found = piece.failed
        if piece.sent:
            # A repetition adds the same items under the same ids.
            request = Request("POST", f"{self._path}/items", {"items": list(piece.sent.values())})
            told = yield from self._ask(request, self._reading(answers.outcomes))
            if len(told) != len(piece.sent):
                raise foreign(self.url)
            found = found | dict(zip(piece.sent, told, strict=True))
        return [found[place] for place in sorted(found)]

    def _get(self, item: str) -> Flow[CollectionItem]:
        return self._ask(Request("GET", self._item(item)), self._reading(answers.item))

    def _items(self, after: str, limit: int, where: Filter | None, failed: bool | None) -> Flow[ItemPage]:
        path = f"{self._path}/items?{bodies.listing(after, limit, where, failed)}"
        return self._ask(Request("GET", path), self._reading(answers.page))

    def _delete(self, ids: Sequence[str] | None, where: Filter | None) -> Flow[int]:
        request = Request("POST", f"{self._path}/items/delete", bodies.selection(ids, where))
        return self._ask(request, self._reading(answers.deleted))

    def _search(
        self,
        query: Mapping[str, Any],
        *,
        top: int,
        offset: int,
        where: Filter | None,
        diverse: bool,
        threshold: Threshold,
    ) -> Flow[CollectionResults]:
        body = {**query} | bodies.search(top, offset, where, diverse, threshold)
        return self._ask(Request("POST", f"{self._path}/search", body), self._reading(answers.results))

    def _similar(
        self,
        item: str,
        *,
        top: int,
        offset: int,
        where: Filter | None,
        diverse: bool,
        threshold: Threshold,
    ) -> Flow[CollectionResults]:
        body = {"id": item} | bodies.search(top, offset, where, diverse, threshold)
        return self._ask(Request("POST", f"{self._path}/similar", body), self._reading(answers.results))

    def _classify(
        self,
        labels: Sequence[str],
        *,
        ids: Sequence[str] | None,
        where: Filter | None,
        language: str | None,
        templates: Sequence[str] | None,
    ) -> Flow[list[ItemLabel]]:
        body = bodies.selection(ids, where) | bodies.labels(labels, language, templates)
        return self._ask(Request("POST", f"{self._path}/classify", body), self._reading(answers.labels))

    def _classify_image(self, body: Mapping[str, Any]) -> Flow[ItemLabel]:
        info = yield from self._info()
        model = f"{info.model}@{info.version}" if info.version else info.model
        request = Request("POST", "/v1/classify", {**body, "model": model})
        return (yield from self._ask(request, self._reading(answers.image_label)))

    def _thumbnail(self, item: str) -> Flow[Content]:
        return self._ask(Request("GET", f"{self._item(item)}/thumbnail"), _content)

    def _content(self, item: str, most_bytes: int) -> Flow[Content]:
        return self._ask(Request("GET", f"{self._item(item)}/content", most_bytes=most_bytes), _content)

    def _start_job(self, kind: str, parameters: Mapping[str, Any]) -> Flow[Job]:
        body = {**parameters, "kind": kind}
        request = Request("POST", f"{self._path}/jobs", body, repeatable=False)
        return self._ask(request, self._reading(answers.job))

    def _job(self, job: str) -> Flow[Job]:
        return self._ask(Request("GET", f"/v1/jobs/{quote(job, safe='')}"), self._reading(answers.job))

    def _cancel_job(self, job: str) -> Flow[Job]:
        return self._ask(Request("DELETE", f"/v1/jobs/{quote(job, safe='')}"), self._reading(answers.job))

    def _item(self, item: str) -> str:
        if item in ("", ".", ".."):
            raise ValueError(f"{item!r} is no id of an item")
        return f"{self._path}/items/{quote(item, safe='')}"

    def _reading(self, read: Callable[[Any], Result]) -> Callable[[Answer], Result]:
        """A reader of JSON as one of answers, which says where what it cannot read came from."""

        def from_answer(answer: Answer) -> Result:
            try:
                return read(parsed(answer, self.url))
            except (KeyError, TypeError, ValueError, AttributeError, OverflowError):
                raise foreign(self.url) from None

        return from_answer

    def _ask(self, request: Request, read: Callable[[Answer], Result]) -> Flow[Result]:
        """What the answer holds, after as many attempts as it takes.

        Raises:
            BabelclipError: the last attempt's, when no other is left or another cannot help.
        """
        retry = RetryState(self._timeout, self._backoff)
        refused = None
        while True:
            token = self._credentials.token()
            try:
                answer = yield replace(request, token=token, timeout=retry.begin_attempt())
                assert answer is not None  # A request is answered, or is thrown an error.
                return read(checked(answer, self.url))
            except AuthenticationError:
                # The file may hold another token by now; that one is tried once.
                if refused is not None or not self._credentials.refresh(token):
                    raise
                refused = token
                continue
            except Unavailable as error:
                pause = retry.pause_after(error)
                if isinstance(error, Busy):
                    pause = max(pause, error.after)
                    if pause >= retry.remaining():
                        raise
            yield pause


def _nothing(answer: Answer) -> None:
    return None


def _content(answer: Answer) -> Content:
    media_type = answer.headers.get("content-type", "").partition(";")[0].strip().lower()
    return Content(answer.body, media_type or "application/octet-stream")

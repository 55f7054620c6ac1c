"""What both clients are, without input or output: settings, and the course of every call.

A course is a generator, a `Flow`. It yields a `Call` that is to be sent, and is sent the answer or thrown the
error; or it yields seconds to sleep. `Client` drives flows with threads, `AsyncClient` with tasks: who waits,
and how many chunks are under way at a time, is all that differs between them.
"""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Generator
from contextlib import AbstractContextManager, nullcontext
from typing import TYPE_CHECKING, NoReturn, Self, TypeVar

from babelclip.client.calls import (
    NOT_TO_BE_SENT,
    CallState,
    check_settings,
    checked_language,
    message_limits,
)
from babelclip.client.credentials import Credentials
from babelclip.client.pace import Pace
from babelclip.client.pending import PendingChunk, unanswered
from babelclip.client.retry import Backoff, RetryState
from babelclip.client.session import Headers, Session
from babelclip.client.splitting import RequestChunk, Splitter
from babelclip.embedding_pb2 import EmbedRequest
from babelclip.embeddings import Embeddings
from babelclip.errors import MESSAGE_TOO_LARGE, BabelclipError, DeadlineExceeded, RequestRefused
from babelclip.transports.base import Call
from babelclip.wire import TOWERS, EmbedResult, Tower, parse_response

if TYPE_CHECKING:
    from babelclip.client.observer import Observer
    from babelclip.metrics import ClientMetrics

Result = TypeVar("Result")
Flow = Generator[Call | float, bytes | None, Result]

_LOG = logging.getLogger("babelclip")


class BaseClient:
    """See `babelclip.Client` for the arguments.

    `served` says whether a server answers, which has limits of its own and asks for a token, or archives in
    this process do.
    """

    def __init__(
        self,
        *,
        served: bool,
        token: str | None,
        token_file: str | os.PathLike[str] | None,
        text_model: str,
        vision_model: str,
        version: str | None,
        space: str | None,
        timeout: float,
        max_message_bytes: int | None,
        concurrency: int,
        backoff: Backoff | None,
        hedge_after: float | None,
        headers: Headers | None,
        metrics: ClientMetrics | None,
        shadow: Observer | None,
    ) -> None:
        self._max_message_bytes, self._largest = message_limits(max_message_bytes, served=served)
        check_settings(timeout=timeout, concurrency=concurrency, hedge_after=hedge_after)
        # Archives ask for no token: a variable that names a file of one must not be in their way.
        credentials = Credentials(token, token_file, environment=served)
        models: dict[Tower, str] = {"text": text_model, "vision": vision_model}
        self._session = Session(credentials, models, space=space, version=version, headers=headers)
        self._timeout = timeout
        self._concurrency = concurrency
        self._backoff = backoff or Backoff()
        self._paces: dict[Tower, Pace] = {tower: Pace(timeout) for tower in TOWERS}
        self._hedge_after = hedge_after
        self._metrics = metrics
        self._shadow = shadow
        self._languages: tuple[str, ...] = ()

    @property
    def space(self) -> str | None:
        """The embedding space this client is pinned to; None before the first answer if none was named."""
        return self._session.space

    @property
    def version(self) -> str | None:
        """The version both towers are asked for; None before the first answer if none was named."""
        return self._session.version

    @property
    def languages(self) -> tuple[str, ...]:
        """What texts may be said to be in, by BCP 47, as the latest `health` was told.

        The language of texts that say none stands first. Empty before `health`, and where the model is told
        no language, as most are.
        """
        return self._languages

    def with_options(self, *, timeout: float) -> Self:
        """Another client with all that this one has but its timeout, for a call that is more or less urgent.

        Both use the same connections, so neither is used after one of them is closed.

        Raises:
            ValueError: the timeout is out of range.
        """
        check_settings(timeout=timeout, concurrency=self._concurrency, hedge_after=self._hedge_after)
        other = self._copied()
        other._timeout = timeout
        other._paces = {tower: Pace(timeout) for tower in TOWERS}
        return other

    def pin(self, space: str, version: str = "") -> None:
        """Insist on a space from now on, and ask for the version that served it, as an index remembers both.

        Raises:
            SpaceMismatch: the client is already pinned to another space.
        """
        self._session.pin(space, version)

    def _copied(self) -> Self:
        other = object.__new__(type(self))
        vars(other).update(vars(self))
        return other

    def __reduce__(self) -> NoReturn:
        raise TypeError(NOT_TO_BE_SENT)

    def _splitter(self, tower: Tower, language: str | None = None) -> Splitter:
        """Raises ValueError where a language is too long to be one."""
        return Splitter(
            tower,
            self._max_message_bytes,
            self._paces[tower],
            largest=self._largest,
            language=checked_language(language),
        )

    def _timing(self, tower: Tower) -> AbstractContextManager[None]:
        """A context in which one request is sent, and counted."""
        return nullcontext() if self._metrics is None else self._metrics.timing(tower)

    def _embed_chunk(self, tower: Tower, chunk: RequestChunk, state: CallState) -> Flow[Embeddings]:
        """The embeddings of a chunk; nothing is sent once the server has been found to be gone.

        Raises:
            BabelclipError: the chunk was refused, or had no answer.
        """
        if state.gone is None:
            try:
                return (yield from self._deliver(tower, chunk))
            except DeadlineExceeded as error:
                if not state.keep:
                    raise
                state.gone = error
        found = unanswered(chunk, self._session, state.gone)
        if self._metrics is not None:
            self._metrics.items(tower, found)
        return found

    def _deliver(self, tower: Tower, chunk: RequestChunk) -> Flow[Embeddings]:
        began = time.perf_counter()
        retry = RetryState(self._timeout, self._backoff)
        pending = PendingChunk(tower, chunk, self._paces[tower], retry)
        while pending.count:
            body = pending.body(self._session.space)
            try:
                answer = yield from self._answer(tower, body, pending.sent, retry)
            except DeadlineExceeded as error:
                pending.timed_out(error)
            except RequestRefused as error:
                if error.code != MESSAGE_TOO_LARGE:
                    raise
                pending.too_large(error)
            else:
                if pause := pending.receive(answer):
                    yield pause
        found = pending.result(self._session)
        if self._metrics is not None:
            self._metrics.items(tower, found)
        if self._shadow is not None:
            try:
                self._shadow.observe(tower, chunk, found, time.perf_counter() - began)
            except Exception:
                _LOG.exception("the shadow of a client failed; what was embedded is not affected")
        return found

    def _embed_canary(self, tower: Tower) -> Flow[EmbedResult]:
        """The tower's answer to being asked for its canary; the first answer pins the space.

        Raises:
            BabelclipError: see `Client.health`.
        """
        body = EmbedRequest(canary=True, space=self._session.space or "").SerializeToString()
        answer = yield from self._answer(tower, body, 1, RetryState(self._timeout, self._backoff))
        if tower == "text":
            self._languages = answer.languages
        return answer

    def _answer(self, tower: Tower, body: bytes, count: int, retry: RetryState) -> Flow[EmbedResult]:
        """The answer to a body of `count` items, after as many attempts as it takes.

        Raises:
            BabelclipError: the last attempt's, when no other is left or another cannot help.
        """
        while True:
            call = self._session.call(tower, body, retry.begin_attempt(), self._timeout)
            try:
                answer, call = yield from self._attempt(call, count)
            except BabelclipError as error:
                pause = retry.pause_after(error)
            else:
                if self._session.accept(call, answer):
                    return answer
                continue
            yield pause

    def _attempt(self, call: Call, count: int) -> Flow[tuple[EmbedResult, Call]]:
        """One attempt, and what it makes necessary at once: the answer, and the call that got it."""
        while True:
            try:
                data = yield call
                assert data is not None  # A call is answered with bytes, or with an error.
                return parse_response(data, count), call
            except BabelclipError as error:
                call = self._session.recover(call, error)

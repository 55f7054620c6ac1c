"""The client: texts and images in, vectors out.

    with Client("http://127.0.0.1:8080") as client:
        cosines = client.similarity(["a red heart", "un chat"], ["heart.png", "cat.jpg"])

A call may have any number of items. They are sent in messages below the server's size limit, several at a
time, and come back as one result in the caller's order; `stream_texts` and `stream_images` give it in pieces.
`babelclip.AsyncClient` is the same for an event loop.
"""

from __future__ import annotations

import contextvars
import os
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn

from babelclip.client.calls import (
    AHEAD,
    NOT_TO_BE_SENT,
    Course,
    OnError,
    Progress,
    check_settings,
    collect,
    message_limits,
)
from babelclip.client.credentials import Credentials
from babelclip.client.delivery import Delivery, undelivered
from babelclip.client.hedging import hedged
from babelclip.client.items import ImageInput, image_items, text_items
from babelclip.client.pace import Pace
from babelclip.client.retry import Backoff, Patience
from babelclip.client.session import Headers, Session
from babelclip.client.splitting import Message, split
from babelclip.embedding_pb2 import EmbedRequest
from babelclip.embeddings import Embeddings, Vectors
from babelclip.errors import MESSAGE_TOO_LARGE, BabelclipError, DeadlineExceeded, RequestRefused
from babelclip.item_errors import ItemError
from babelclip.similarity import similarity
from babelclip.transports.base import Call, Tls, Transport
from babelclip.transports.url import is_local, open_transport
from babelclip.wire import TOWERS, Batch, Tower, parse_response

if TYPE_CHECKING:
    from babelclip.client.observer import Observer
    from babelclip.metrics import ClientMetrics


class Client:
    """A connection to one babelclip server. Safe to use from several threads.

    Over HTTP it may also be made before a fork and used on both sides of it. One of archives too: the
    child loads them itself. The library of gRPC does not allow it, so with grpc:// make the client in the
    child.

    The first answer pins the embedding space: from then on the client never returns a vector of another one,
    so all its vectors can be compared. It also pins the version that serves the space, so the client stays
    there when an operator makes another version the server's default. After a change of model on the server,
    make a new client. Close it, or use `with`.

    Args:
        url: `http://host:8080`, `https://…`, `grpc://host:7070` or `grpcs://…`; or `mar:model_store` to run
            exported archives in this process, see `babelclip.transports.inprocess`.
        token: TorchServe's inference key; default: the variable BABELCLIP_TOKEN.
        token_file: TorchServe's `key_file.json`, or a file with a bare token; default: the variable
            BABELCLIP_TOKEN_FILE. It is read again before the key expires, and when the server refuses it.
        text_model, vision_model: the names of the two towers on the server.
        version: the version of both, and no other; None for the server's default one.
        space: the embedding space to insist on; None to take that of the first answer.
        timeout: seconds without an answer after which items are given up. A call goes on as long as answers
            come: what the server had no time for is sent again, in smaller messages.
        max_message_bytes: the largest message to send; default: 6,000,000 for several items and 32,000,000
            for one, and 32,000,000 to archives in this process. What a server, or a proxy before it, refuses
            for its size is sent again in smaller messages.
        concurrency: messages of one call that are under way at a time. Two keep a server busy, which computes
            one while the other waits; a server with many workers takes more. As many again are read and made
            ahead, or are answered and wait for those before them.
        backoff: how often, and how patiently, to try again while the server is unavailable.
        hedge_after: seconds after which a message that has no answer is sent a second time; the answer that
            comes first counts. It cuts the slowest answers short, and costs the server the work twice.
        headers: sent with every call, or a function that is asked for them with every call, such as
            `babelclip.tracing.trace_headers`. Metadata, over gRPC.
        tls: a certificate authority of your own, and a certificate to show, for https:// and grpcs://.
        metrics: counts requests, items and seconds for Prometheus.
        shadow: compares a candidate version on a share of the requests, see `babelclip.shadow.shadow`.
        transport: carries the calls instead of what `url` names, which is then not looked at.

    Raises:
        ValueError: the URL is none or leads to no model store, or an argument is out of range.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        token_file: str | os.PathLike[str] | None = None,
        text_model: str = "text",
        vision_model: str = "vision",
        version: str | None = None,
        space: str | None = None,
        timeout: float = 30.0,
        max_message_bytes: int | None = None,
        concurrency: int = 2,
        backoff: Backoff | None = None,
        hedge_after: float | None = None,
        headers: Headers | None = None,
        tls: Tls | None = None,
        metrics: ClientMetrics | None = None,
        shadow: Observer | None = None,
        transport: Transport | None = None,
    ) -> None:
        served = transport is not None or not is_local(url)
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
        self._given = transport
        self._url, self._tls = url, tls
        self._transport = transport or open_transport(url, tls)
        self._pool: ThreadPoolExecutor | None = None
        self._pool_lock = threading.Lock()
        _CLIENTS.add(self)

    @property
    def space(self) -> str | None:
        """The embedding space this client is pinned to; None before the first answer if none was named."""
        return self._session.space

    @property
    def version(self) -> str | None:
        """The version both towers are asked for; None before the first answer if none was named."""
        return self._session.version

    def pin(self, space: str, version: str = "") -> None:
        """Insist on a space from now on, and ask for the version that served it, as an index remembers both.

        Raises:
            SpaceMismatch: the client is already pinned to another space.
        """
        self._session.pin(space, version)

    def embed_texts(
        self, texts: Iterable[str], *, errors: OnError = "raise", progress: Progress | None = None
    ) -> Embeddings:
        """N texts, in any language → Embeddings of N.

        Args:
            texts: read once, in order.
            errors: "raise" raises ItemErrors after the last item if any failed; "return" leaves the failures
                in `.errors` of the result, `deadline_exceeded` for those without an answer in time.
            progress: called with the number of items that are done, after each message.

        Raises:
            ItemErrors: items failed; it holds the vectors of the others.
            DeadlineExceeded: items had no answer in time, and `errors` is "raise"; it holds the vectors of
                the others, or of those before, where the server seems to be gone.
            BabelclipError: one of the other branches, when a message was refused or got no answer; a
                TransportError holds what was received before.
            TypeError: `texts` is a single text.
        """
        parts = self._stream("text", text_items(texts), Course(keep=errors == "return"))
        return collect(parts, errors, progress)

    def embed_images(
        self, images: Iterable[ImageInput], *, errors: OnError = "raise", progress: Progress | None = None
    ) -> Embeddings:
        """N images → Embeddings of N.

        Args:
            images: encoded images as bytes or data URIs, paths of such files, Pillow images, or uint8 arrays
                [H, W, 3] (RGB) or [H, W] (grey). Read once, in order, no further ahead than `concurrency`
                tells. Bytes and files travel as they are; pixels are encoded without loss, by Pillow.
            errors, progress: as in `embed_texts`.

        Raises:
            ItemErrors, BabelclipError: as in `embed_texts`.
            TypeError: `images` is a single image.
            ImportError: there are pixels to encode and Pillow is not installed.
        """
        items = image_items(images, self._largest)
        return collect(self._stream("vision", items, Course(keep=errors == "return")), errors, progress)

    def stream_texts(self, texts: Iterable[str]) -> Generator[Embeddings, None, None]:
        """Texts without end → Embeddings of one stretch of them after the other, in order.

        Texts are read no further ahead than `concurrency` tells, so neither they nor their vectors need fit
        into memory. Failed items are in `.errors` of their stretch, also those without an answer in time.

        Raises:
            BabelclipError: a message was refused or got no answer, or the server seems to be gone; the
                stretches before have been given.
            TypeError: `texts` is a single text.
        """
        return self._stream("text", text_items(texts), Course())

    def stream_images(self, images: Iterable[ImageInput]) -> Generator[Embeddings, None, None]:
        """Images as in `embed_images` → Embeddings as in `stream_texts`."""
        return self._stream("vision", image_items(images, self._largest), Course())

    def similarity(
        self, texts: Embeddings | Iterable[str], images: Embeddings | Iterable[ImageInput]
    ) -> Vectors:
        """Cosines of every text with every image: float32 [len(texts), len(images)], from -1 to 1.

        Either side may be Embeddings made before, of texts or images; `babelclip.similarity` compares two of
        those without a client.

        Raises:
            SpaceMismatch: the two sides are vectors of different spaces.
            ItemErrors, BabelclipError, TypeError, ImportError: as in `embed_texts` and `embed_images`.
        """
        rows = texts if isinstance(texts, Embeddings) else self.embed_texts(texts)
        columns = images if isinstance(images, Embeddings) else self.embed_images(images)
        return similarity(rows, columns)

    def health(self, *, towers: Sequence[Tower] = TOWERS) -> str:
        """Have both towers, or those that are named, embed their canaries now → the space they serve.

        A tower passes when it gives the vector that it gave when it was exported. TorchServe's own /ping says
        nothing of that: it is content while workers crash.

        Raises:
            RequestRefused: `canary_mismatch`, a tower gives another vector or none.
            SpaceMismatch: the towers serve different spaces, or not the one this client is pinned to.
            BabelclipError: one of the other branches, when a tower could not be asked.
        """
        for tower in towers:
            # The first answer pins the space, so the second tower must serve the same.
            probe = EmbedRequest(canary=True, space=self._session.space or "").SerializeToString()
            patience = Patience(self._timeout, self._backoff)
            batch = self._answer(tower, probe, 1, patience)
        return batch.space

    def close(self) -> None:
        """Waits for what is under way, and gives the connections back."""
        if self._pool is not None:
            self._pool.shutdown()
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _stream(
        self, tower: Tower, items: Iterator[bytes | ItemError], course: Course
    ) -> Generator[Embeddings, None, None]:
        limit, pace = self._max_message_bytes, self._paces[tower]
        messages = split(items, tower=tower, max_message_bytes=limit, pace=pace, largest=self._largest)
        message, following = next(messages, None), next(messages, None)
        if message is None:
            return
        if following is None or self._concurrency == 1:
            while message is not None:
                yield self._delivered(tower, message, course)
                message, following = following, next(messages, None)
            return
        made: deque[Future[Embeddings]] = deque()
        try:
            while message is not None:
                # In the caller's context: what is traced or logged belongs to the caller's span.
                run = contextvars.copy_context().run
                made.append(self._threads().submit(run, self._delivered, tower, message, course))
                message, following = following, next(messages, None)
                if len(made) == AHEAD * self._concurrency or made[0].done():
                    yield made.popleft().result()
            while made:
                yield made.popleft().result()
        finally:
            for future in made:
                future.cancel()

    def _threads(self) -> ThreadPoolExecutor:
        with self._pool_lock:
            if self._pool is None:
                self._pool = ThreadPoolExecutor(self._concurrency, thread_name_prefix="babelclip")
            return self._pool

    def _delivered(self, tower: Tower, message: Message, course: Course) -> Embeddings:
        """`_deliver`, as long as the server has not been found to be gone."""
        if course.gone is None:
            try:
                return self._deliver(tower, message)
            except DeadlineExceeded as error:
                if not course.keep:
                    raise
                course.gone = error
        result = undelivered(message, self._session, course.gone)
        if self._metrics is not None:
            self._metrics.items(tower, result)
        return result

    def _deliver(self, tower: Tower, message: Message) -> Embeddings:
        began = time.perf_counter()
        patience = Patience(self._timeout, self._backoff)
        delivery = Delivery(tower, message, self._paces[tower], patience)
        while delivery.count:
            body = delivery.body(self._session.space)
            try:
                batch = self._answer(tower, body, delivery.sent, patience)
            except DeadlineExceeded as error:
                delivery.unanswered(error)
            except RequestRefused as error:
                if error.code != MESSAGE_TOO_LARGE:
                    raise
                delivery.too_large(error)
            else:
                if pause := delivery.take(batch):
                    time.sleep(pause)
        result = delivery.result(self._session)
        if self._metrics is not None:
            self._metrics.items(tower, result)
        if self._shadow is not None:
            self._shadow.observe(tower, message, result, time.perf_counter() - began)
        return result

    def _answer(self, tower: Tower, body: bytes, count: int, patience: Patience) -> Batch:
        """The answer to a body of `count` items, after as many attempts as it takes.

        Raises:
            BabelclipError: the last attempt's, when patience is at its end or another cannot help.
        """
        while True:
            call = self._session.call(tower, body, patience.left(), self._timeout)
            try:
                batch, call = self._attempt(tower, call, count)
            except BabelclipError as error:
                time.sleep(patience.pause_after(error))
                continue
            if self._session.accept(call, batch):
                return batch

    def _attempt(self, tower: Tower, call: Call, count: int) -> tuple[Batch, Call]:
        """One attempt and what it makes necessary at once: the answer, and the call that got it."""
        while True:
            try:
                return parse_response(self._send(tower, call), count), call
            except BabelclipError as error:
                call = self._session.instead(call, error)

    def _send(self, tower: Tower, call: Call) -> bytes:
        send: Callable[[Call], bytes] = self._transport.send
        if self._metrics is not None:
            send = self._metrics.timed(tower, send)
        if self._hedge_after is None:
            return send(call)
        return hedged(send, call, self._hedge_after)

    def __reduce__(self) -> NoReturn:
        raise TypeError(NOT_TO_BE_SENT)

    def _after_fork(self) -> None:
        """In the child: connections, threads and locks of the parent are not its own."""
        self._session.renew()
        self._session.credentials.renew()
        self._pool, self._pool_lock = None, threading.Lock()
        if self._given is None and not is_local(self._url):  # Archives see to it themselves.
            self._transport = open_transport(self._url, self._tls)


_CLIENTS: weakref.WeakSet[Client] = weakref.WeakSet()


def _renew_clients() -> None:
    for client in list(_CLIENTS):
        client._after_fork()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_renew_clients)

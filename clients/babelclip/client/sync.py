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
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Empty, SimpleQueue
from types import TracebackType
from typing import TYPE_CHECKING, Self, TypeVar

from babelclip.client.calls import AHEAD, CallState, Collector, OnError, Progress
from babelclip.client.core import BaseClient, Flow
from babelclip.client.flows import drive
from babelclip.client.hedging import Begin, Outcome, Wait, hedge
from babelclip.client.items import ImageInput, image_items, text_items
from babelclip.client.retry import Backoff
from babelclip.client.session import Headers
from babelclip.client.splitting import RequestChunk, Splitter, split
from babelclip.embeddings import Embeddings, Vectors
from babelclip.item_errors import ItemError
from babelclip.similarity import similarity
from babelclip.transports.base import Call, Tls, Transport
from babelclip.transports.url import is_local, open_transport
from babelclip.wire import TOWERS, Tower

if TYPE_CHECKING:
    from babelclip.client.observer import Observer
    from babelclip.metrics import ClientMetrics

Result = TypeVar("Result")


class Client(BaseClient):
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
        shadow: is shown each chunk of items that was embedded; a `babelclip.Shadow` compares a candidate
            version on a share of them, and any object with `observe` will do, see `Observer`.
        transport: carries the calls instead of what `url` names, which is then not looked at.

    Raises:
        ValueError: the URL is not valid or leads to no model store, or an argument is out of range.
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
        super().__init__(
            served=transport is not None or not is_local(url),
            token=token,
            token_file=token_file,
            text_model=text_model,
            vision_model=vision_model,
            version=version,
            space=space,
            timeout=timeout,
            max_message_bytes=max_message_bytes,
            concurrency=concurrency,
            backoff=backoff,
            hedge_after=hedge_after,
            headers=headers,
            metrics=metrics,
            shadow=shadow,
        )
        self._given = transport
        self._url, self._tls = url, tls
        self._transport = transport or open_transport(url, tls)
        self._pool: ThreadPoolExecutor | None = None
        self._pool_lock = threading.Lock()
        _CLIENTS.add(self)

    def embed_texts(
        self,
        texts: Iterable[str],
        *,
        language: str | None = None,
        errors: OnError = "raise",
        progress: Progress | None = None,
    ) -> Embeddings:
        """N texts, in any language → Embeddings of N.

        Args:
            texts: read once, in order.
            language: that of all of them, by BCP 47 ("bn", "zh-Hant"), for a model that is told it, such as
                nllb-clip. None for the model's default; other models pass it over. One that the model lacks
                fails each text as `unknown_language`.
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
        return self._collect(self._splitter("text", language), text_items(texts), errors, progress)

    def embed_images(
        self, images: Iterable[ImageInput], *, errors: OnError = "raise", progress: Progress | None = None
    ) -> Embeddings:
        """N images → Embeddings of N.

        Args:
            images: encoded images as bytes or data URIs, paths of such files, Pillow images, or uint8 arrays
                [H, W, 3] (RGB) or [H, W] (grey). Read once, in order, no further ahead than `concurrency`
                allows. Bytes and files travel as they are; pixels are encoded without loss, by Pillow.
            errors, progress: as in `embed_texts`.

        Raises:
            ItemErrors, BabelclipError: as in `embed_texts`.
            TypeError: `images` is a single image.
            ImportError: there are pixels to encode and Pillow is not installed.
        """
        items = image_items(images, self._largest)
        return self._collect(self._splitter("vision"), items, errors, progress)

    def stream_texts(
        self, texts: Iterable[str], *, language: str | None = None
    ) -> Generator[Embeddings, None, None]:
        """Texts without end → Embeddings of one chunk of them after the other, in order.

        Texts are read no further ahead than `concurrency` allows, so neither they nor their vectors need fit
        into memory. Failed items are in `.errors` of their chunk, also those without an answer in time.

        Raises:
            BabelclipError: a message was refused or got no answer, or the server seems to be gone; the
                chunks before have been given.
            TypeError: `texts` is a single text.
        """
        return self._stream(self._splitter("text", language), text_items(texts), CallState())

    def stream_images(self, images: Iterable[ImageInput]) -> Generator[Embeddings, None, None]:
        """Images as in `embed_images` → Embeddings as in `stream_texts`."""
        items = image_items(images, self._largest)
        return self._stream(self._splitter("vision"), items, CallState())

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
            self._drive(tower, self._embed_canary(tower))
        return self.space or ""

    def repinned(self, space: str, version: str = "") -> Client:
        """Another client of the same server, pinned to another space and the version that serves it.

        For an index that has moved to another model, whose rows this client's vectors are not compared with.
        Both use the same connections, so neither is used after one of them is closed.
        """
        other = self._copied()
        other._session = self._session.repinned(space, version)
        other._languages = ()
        return other

    def close(self) -> None:
        """Waits for what is under way, and closes the connections."""
        if self._pool is not None:
            self._pool.shutdown()
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _collect(
        self,
        splitter: Splitter,
        items: Iterator[bytes | ItemError],
        errors: OnError,
        progress: Progress | None,
    ) -> Embeddings:
        with Collector(errors, progress) as found:
            for part in self._stream(splitter, items, CallState(keep=errors == "return")):
                found.add(part)
        return found.result()

    def _stream(
        self, splitter: Splitter, items: Iterator[bytes | ItemError], state: CallState
    ) -> Generator[Embeddings, None, None]:
        tower, chunks = splitter.tower, split(items, splitter)
        chunk, following = next(chunks, None), next(chunks, None)
        if chunk is None:
            return
        if following is None or self._concurrency == 1:
            while chunk is not None:
                yield self._embedded(tower, chunk, state)
                chunk, following = following, next(chunks, None)
            return
        made: deque[Future[Embeddings]] = deque()
        try:
            while chunk is not None:
                # In the caller's context: what is traced or logged belongs to the caller's span.
                run = contextvars.copy_context().run
                made.append(self._threads().submit(run, self._embedded, tower, chunk, state))
                chunk, following = following, next(chunks, None)
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

    def _embedded(self, tower: Tower, chunk: RequestChunk, state: CallState) -> Embeddings:
        return self._drive(tower, self._embed_chunk(tower, chunk, state))

    def _drive(self, tower: Tower, flow: Flow[Result]) -> Result:
        def carry_out(step: Call | float) -> bytes | None:
            if isinstance(step, Call):
                return self._send(tower, step)
            time.sleep(step)
            return None

        return drive(flow, carry_out)

    def _send(self, tower: Tower, call: Call) -> bytes:
        if self._hedge_after is not None:
            return self._hedged(tower, call, self._hedge_after)
        with self._timing(tower):
            return self._transport.send(call)

    def _hedged(self, tower: Tower, call: Call, after: float) -> bytes:
        outcomes: SimpleQueue[Outcome] = SimpleQueue()

        def attempt(call: Call) -> None:
            try:
                with self._timing(tower):
                    outcomes.put(self._transport.send(call))
            except BaseException as error:  # Whatever it is, somebody waits for it.
                outcomes.put(error)

        def carry_out(step: Begin | Wait) -> Outcome | None:
            if isinstance(step, Begin):
                # A thread of its own: the loser may be long in coming, and nobody waits for it.
                name = "babelclip-hedge"
                threading.Thread(target=attempt, args=(step.call,), name=name, daemon=True).start()
                return None
            try:
                return outcomes.get(timeout=step.seconds)
            except Empty:
                return None

        return drive(hedge(call, after), carry_out)

    def _copied(self) -> Self:
        other = super()._copied()
        other._pool, other._pool_lock = None, threading.Lock()
        _CLIENTS.add(other)
        return other

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

"""The client: texts and images in, vectors out.

    with Client("http://127.0.0.1:8080") as client:
        cosines = client.similarity(["a red heart", "un chat"], ["heart.png", "cat.jpg"])

A call may have any number of items. They are sent in messages below the server's size limit, one after the
other, and come back as one result in the caller's order.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterable, Iterator
from types import TracebackType
from typing import Literal

import numpy as np

from babelclip.credentials import TOKEN_FILE_VARIABLE, TOKEN_VARIABLE, Credentials
from babelclip.embedding_pb2 import EmbedRequest
from babelclip.embeddings import Embeddings, Vectors, similarity
from babelclip.errors import AuthenticationError, ItemError, ItemErrors, SpaceMismatch
from babelclip.items import ImageInput, image_items, text_items
from babelclip.retry import Backoff, send_patiently
from babelclip.transport import Call, Transport, is_local, open_transport
from babelclip.wire import TOWERS, Batch, Tower, parse_response, smallest_message, split

OnError = Literal["raise", "return"]


class Client:
    """A connection to one babelclip server. Safe to use from several threads; close it, or use `with`.

    The first answer pins the embedding space: from then on the client never returns a vector of another one,
    so all its vectors can be compared. After a change of model on the server, make a new client.

    Args:
        url: `http://host:8080`, `https://…`, `grpc://host:7070` or `grpcs://…`; or `mar:model_store` to run
            exported archives in this process, see `babelclip.inprocess`.
        token: TorchServe's inference key; default: the variable BABELCLIP_TOKEN.
        token_file: TorchServe's `key_file.json`, or a file with a bare token; default: the variable
            BABELCLIP_TOKEN_FILE. It is read again when the server refuses the token.
        text_model, vision_model: the names of the two towers on the server.
        version: the version of both; None for the server's default one.
        space: the embedding space to insist on; None to take that of the first answer.
        timeout: seconds for each message, its retries included.
        max_message_bytes: the largest message to send, which must not exceed the server's `max_request_size`;
            default: 6,000,000, and 32,000,000 to archives in this process.
        backoff: how often, and how patiently, to try again while the server is unavailable.
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
        backoff: Backoff | None = None,
        transport: Transport | None = None,
    ) -> None:
        if not timeout > 0:
            raise ValueError(f"timeout must be more than 0 seconds, not {timeout}")
        served = transport is not None or not is_local(url)
        if max_message_bytes is None:
            max_message_bytes = 6_000_000 if served else 32_000_000
        if max_message_bytes < smallest_message():
            raise ValueError(
                f"max_message_bytes must be at least {smallest_message()}, not {max_message_bytes}"
            )
        # Archives ask for no token: a variable that names a file of one must not be in their way.
        self._credentials = Credentials(token, token_file, environment=served)
        self._models: dict[Tower, str] = {"text": text_model, "vision": vision_model}
        self._version = version
        self._timeout = timeout
        self._max_message_bytes = max_message_bytes
        self._backoff = backoff or Backoff()
        self._lock = threading.Lock()
        self._space = space
        self._dim = 0
        self._logit_scale = 1.0
        self._transport = transport or open_transport(url)

    @property
    def space(self) -> str | None:
        """The embedding space this client is pinned to; None before the first answer if none was named."""
        return self._space

    def embed_texts(self, texts: Iterable[str], *, errors: OnError = "raise") -> Embeddings:
        """N texts, in any language → Embeddings of N.

        Args:
            texts: read once, in order.
            errors: "raise" raises ItemErrors after the last item if any failed; "return" leaves the failures
                in `.errors` of the result.

        Raises:
            ItemErrors: items failed; it holds the vectors of the others.
            BabelclipError: one of the other branches, when a message got no answer; nothing is returned.
            TypeError: `texts` is a single text.
        """
        return self._embed("text", text_items(texts), errors)

    def embed_images(self, images: Iterable[ImageInput], *, errors: OnError = "raise") -> Embeddings:
        """N images → Embeddings of N.

        Args:
            images: encoded images as bytes, paths of such files, Pillow images, or uint8 arrays [H, W, 3]
                (RGB) or [H, W] (grey). Read once, in order, no more at a time than a message holds. Bytes and
                files travel as they are; pixels are encoded without loss, which needs Pillow.
            errors: as in `embed_texts`.

        Raises:
            ItemErrors, BabelclipError: as in `embed_texts`.
            TypeError: `images` is a single image.
            ImportError: there are pixels to encode and Pillow is not installed.
        """
        return self._embed("vision", image_items(images, self._max_message_bytes), errors)

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

    def health(self) -> str:
        """Have both towers embed their canaries now → the space they serve.

        A tower passes when it gives the vector that it gave when it was exported. TorchServe's own /ping says
        nothing of that: it is content while workers crash.

        Raises:
            RequestRefused: `canary_mismatch`, a tower gives another vector or none.
            SpaceMismatch: the towers serve different spaces, or not the one this client is pinned to.
            BabelclipError: one of the other branches, when a tower could not be asked.
        """
        for tower in TOWERS:
            # The first answer pins the space, so the second tower must serve the same.
            probe = EmbedRequest(canary=True, space=self._space or "")
            batch = self._send(tower, probe.SerializeToString(), 1)
        return batch.space

    def close(self) -> None:
        """Gives the connections back."""
        self._transport.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _embed(self, tower: Tower, items: Iterator[bytes | ItemError], errors: OnError) -> Embeddings:
        if errors not in ("raise", "return"):
            raise ValueError(f'errors must be "raise" or "return", not {errors!r}')
        failed: list[ItemError] = []
        truncated: list[int] = []
        rows: list[tuple[list[int], Vectors]] = []
        count = 0

        def counted() -> Iterator[bytes | ItemError]:
            nonlocal count
            for item in items:
                count += 1
                yield item

        for message in split(
            counted(), tower=tower, max_message_bytes=self._max_message_bytes, failed=failed
        ):
            batch = self._send(tower, message.encode(tower, self._space), len(message.items))
            rows.append((message.indices, batch.vectors))
            failed += (ItemError(message.indices[e.index], e.code, e.message) for e in batch.errors)
            truncated += (message.indices[index] for index in batch.truncated)

        vectors = np.zeros((count, self._dim), dtype=np.float32)
        for indices, part in rows:
            vectors[indices] = part
        embeddings = Embeddings(
            vectors=vectors,
            space=self._space or "",
            logit_scale=self._logit_scale,
            errors=tuple(sorted(failed, key=lambda error: error.index)),
            truncated=tuple(truncated),
        )
        if embeddings.errors and errors == "raise":
            raise ItemErrors(embeddings.errors, embeddings)
        return embeddings

    def _send(self, tower: Tower, body: bytes, count: int) -> Batch:
        def send(seconds: float, token: str | None) -> bytes:
            return self._transport.send(Call(self._models[tower], self._version, body, token, seconds))

        def send_authorised(seconds: float) -> bytes:
            token = self._credentials.token()
            try:
                return send(seconds, token)
            except AuthenticationError as error:
                if token is None:
                    raise AuthenticationError(
                        f"{error}. None was given: pass a token or a token file, or set {TOKEN_VARIABLE} or"
                        f" {TOKEN_FILE_VARIABLE}"
                    ) from error
                if not self._credentials.refresh(token):
                    raise
                return send(seconds, self._credentials.token())

        def exchange(seconds: float) -> Batch:
            return parse_response(send_authorised(seconds), count)

        return self._pinned(send_patiently(exchange, timeout=self._timeout, backoff=self._backoff))

    def _pinned(self, batch: Batch) -> Batch:
        """The same batch, if it belongs to the space of everything this client has returned."""
        with self._lock:
            if self._space is not None and batch.space != self._space:
                raise SpaceMismatch(
                    f"the server answered in the space {batch.space}; this client is pinned to {self._space}."
                    " Its model has changed: make a new client, and embed again what is compared with it"
                )
            if self._dim and batch.vectors.shape[1] != self._dim:
                raise SpaceMismatch(
                    f"the server answered with {batch.vectors.shape[1]} values a vector; the space"
                    f" {self._space} has {self._dim}"
                )
            self._space = batch.space
            self._dim = batch.vectors.shape[1]
            self._logit_scale = batch.logit_scale
        return batch

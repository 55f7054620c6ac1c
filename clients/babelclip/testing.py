"""A server in memory, for tests of programs that use babelclip: no network, no model.

    transport = InMemoryTransport(failing={"poison": ("text_too_long", "too long")})
    client = Client("unused", transport=transport)
    client.embed_texts(["a", "b"])          # the vectors of equal items are equal, those of others differ
    assert transport.calls[0].model == "text"

For `AsyncClient` too. Vectors come from a hash of the item, so they mean nothing; `vectors` gives those that
a test is about.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Collection, Mapping

import numpy as np
from numpy.typing import ArrayLike

from babelclip.embedding_pb2 import EmbedRequest, EmbedResponse
from babelclip.embeddings import Vectors
from babelclip.transports.base import AsyncTransport, Call

Item = str | bytes


class InMemoryTransport:
    """Both towers of one embedding space. A text has a token for each word.

    Attributes:
        calls: what was sent, in order.
        vectors: float32 [dim] by text or image bytes, for items that should have a certain vector.
        failing: (code, message) by text or image bytes, for items that should have none.
        unknown: texts that are to count as written in letters the model does not know.
        languages: what texts may be said to be in, by BCP 47: one text then has another vector in each, and
            `unknown_language` in any other. Without them the language of a request is passed over.
    """

    def __init__(
        self,
        *,
        space: str = "in-memory",
        version: str = "1.0",
        dim: int = 32,
        logit_scale: float = 50.0,
        vectors: Mapping[Item, ArrayLike] | None = None,
        failing: Mapping[Item, tuple[str, str]] | None = None,
        unknown: Collection[str] = (),
        languages: Collection[str] = (),
    ) -> None:
        self.space, self.version, self.dim, self.logit_scale = space, version, dim, logit_scale
        self.vectors = {_bytes(item): vector for item, vector in (vectors or {}).items()}
        self.failing = {_bytes(item): error for item, error in (failing or {}).items()}
        self.unknown = {_bytes(text) for text in unknown}
        self.languages = frozenset(languages)
        self.calls: list[Call] = []
        self._lock = threading.Lock()

    def send(self, call: Call) -> bytes:
        """See `babelclip.transports.base.Transport.send`."""
        with self._lock:
            self.calls.append(call)
        request = EmbedRequest.FromString(call.body)
        response = EmbedResponse(
            space=self.space, dim=self.dim, logit_scale=self.logit_scale, version=self.version
        )
        if request.space and request.space != self.space:
            response.error.code = "space_mismatch"
            response.error.message = f"this tower serves the space {self.space}, not {request.space}"
            return response.SerializeToString()
        items = list(request.texts or request.images) or [b"canary"]
        rows = np.zeros((len(items), self.dim), dtype="<f4")
        tokens = [0] * len(request.texts)
        language = request.language if request.texts and self.languages else ""
        for index, item in enumerate(items):
            failure = self._failure(item, language)
            if failure is not None:
                code, message = failure
                response.errors.add(index=index, code=code, message=message)
            else:
                rows[index] = self.vector_in(language, item) if language else self.vector(item)
                if item in self.unknown:
                    response.unknown.append(index)
                if request.texts:
                    tokens[index] = len(item.split())
        response.vectors = rows.tobytes()
        response.tokens.extend(tokens)
        if request.canary and call.model.endswith("text"):
            response.languages.extend(sorted(self.languages))
        return response.SerializeToString()

    def vector(self, item: Item) -> Vectors:
        """float32 [dim] of length 1: what a client gets for this text or image."""
        data = _bytes(item)
        if data in self.vectors:
            vector: Vectors = np.asarray(self.vectors[data], dtype=np.float32)
        else:
            seed = int.from_bytes(hashlib.sha256(data).digest()[:8], "big")
            vector = np.random.default_rng(seed).standard_normal(self.dim).astype(np.float32)
        unit: Vectors = vector / np.linalg.norm(vector)
        return unit

    def vector_in(self, language: str, text: str | bytes) -> Vectors:
        """The same for a text that is said to be in one of `languages`."""
        return self.vector(_bytes(language) + b"\0" + _bytes(text))

    def _failure(self, item: bytes, language: str) -> tuple[str, str] | None:
        if language and language not in self.languages:
            return "unknown_language", f"there is no {language}, but {', '.join(sorted(self.languages))}"
        return self.failing.get(item)

    def close(self) -> None:
        """There are no connections to close."""

    def asynchronous(self) -> AsyncTransport:
        """The same server for `AsyncClient(transport=…)`."""
        return _Asynchronous(self)


class _Asynchronous:
    def __init__(self, transport: InMemoryTransport) -> None:
        self._transport = transport

    async def send(self, call: Call) -> bytes:
        return self._transport.send(call)

    async def close(self) -> None:
        pass


def _bytes(item: Item) -> bytes:
    return item.encode() if isinstance(item, str) else item

"""A client for `babelclip.ingest` that embeds by the gateway's own towers, at the expense of a job's key."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, cast

from babelclip import Embeddings
from gateway.access.account import ACCOUNT, STREAMING
from gateway.collections.job_context import JobContext
from gateway.embedding import Item
from gateway.errors import ApiError
from gateway.models import Chosen

if TYPE_CHECKING:
    from babelclip.client.sync import Client

_TRIES = 20  # of items that find no room at the model


def job_client(context: JobContext, chosen: Chosen, space: str) -> Client:
    """What embeds by a version of a model, as long as that is of the space."""
    return cast("Client", _JobClient(context, chosen, space))


class _JobClient:
    """As much of a client as `babelclip.ingest` needs."""

    def __init__(self, context: JobContext, chosen: Chosen, space: str) -> None:
        self._context, self._chosen = context, chosen
        self.space = space

    def embed_images(self, images: Iterable[bytes], *, errors: str = "return") -> Embeddings:
        """Encoded images → their vectors; waits for room at the model."""
        return self._wait(list(images))

    def embed_texts(self, texts: Iterable[str]) -> Embeddings:
        """Texts → their vectors; the same."""
        return self._wait(list(texts))

    def _wait(self, items: Sequence[Item]) -> Embeddings:
        return asyncio.run_coroutine_threadsafe(self._embed(items), self._context.loop).result()

    async def _embed(self, items: Sequence[Item]) -> Embeddings:
        ACCOUNT.set(self._context.account)
        STREAMING.set(True)
        embed = self._context.calls.embed_by
        for _ in range(_TRIES):
            try:
                return await embed(self._chosen, self.space, items)
            except ApiError as error:
                if error.retry_after is None:
                    raise
                await asyncio.sleep(error.retry_after)
        return await embed(self._chosen, self.space, items)

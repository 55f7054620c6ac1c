"""Towers of an engine that speaks babelclip's wire format: TorchServe with our archives, by gRPC or HTTP.

Calls share the connections of one transport. Each version has a client of its own, pinned to the version and
to its space, so that a promotion in the middle of a request cannot mix two spaces: the engine changes the
default of one tower at a time, and which version is the default is read from the text tower alone.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from functools import partial
from typing import Any

from babelclip import AsyncClient, AsyncTransport, Embeddings, ModelNotFound, SpaceMismatch
from babelclip.tracing import trace_headers
from babelclip.transports.url import open_async_transport
from babelclip.wire import Tower
from gateway import tracing
from gateway.towers.base import ModelVersion
from gateway.towers.traced import TracedTransport

# Versions whose clients are kept; callers may name any, and one that is asked for again is found again.
_KEPT = 16


class EngineTowers:
    """See `gateway.towers.base.Towers`.

    Args:
        url: the engine's address, grpc://HOST:PORT or http://HOST:PORT.
        text_model, vision_model: the engine's names of the towers.
        token_file: TorchServe's key_file.json, or a file with the bare token; read again when it changes.
        timeout: seconds without any progress after which items are given up.
        transport: carries the calls instead of what `url` names.
    """

    def __init__(
        self,
        url: str,
        *,
        text_model: str = "text",
        vision_model: str = "vision",
        token_file: str | os.PathLike[str] | None = None,
        timeout: float = 30.0,
        transport: AsyncTransport | None = None,
    ) -> None:
        self._url = url
        self._timeout = timeout
        self._transport = transport or open_async_transport(url)
        if tracing.is_on():
            self._transport = TracedTransport(self._transport)
        self._shared: dict[str, Any] = {
            "text_model": text_model,
            "vision_model": vision_model,
            "token_file": token_file,
            "transport": self._transport,
        }
        if tracing.is_on():
            self._shared["headers"] = trace_headers
        self._default: ModelVersion | None = None
        self._clients: dict[str, tuple[ModelVersion, AsyncClient]] = {}
        self._checking: dict[str | None, asyncio.Task[ModelVersion]] = {}

    async def version(self, name: str | None = None) -> ModelVersion:
        """See `Towers.version`."""
        if name is None:
            return self._default or await self.check()
        if name in self._clients:
            return self._clients[name][0]
        return await self.check(name)

    async def embed(
        self,
        tower: Tower,
        items: Sequence[str] | Sequence[bytes],
        version: ModelVersion,
        *,
        language: str = "",
        timeout: float | None = None,
    ) -> Embeddings:
        """See `Towers.embed`."""
        client = self._client(version, timeout)
        embed: Any = client.embed_images
        if tower == "text":
            embed = partial(client.embed_texts, language=language)
        try:
            with tracing.tower_span(tower, len(items), version.version):
                outcomes: Embeddings = await embed(items, errors="return")
        except (ModelNotFound, SpaceMismatch):
            self._forget(version)
            raise
        return outcomes

    async def check(self, name: str | None = None) -> ModelVersion:
        """See `Towers.check`; callers at the same time share one question."""
        checking = self._checking.get(name)
        if checking is None:
            checking = self._checking[name] = asyncio.create_task(self._probe(name))
            checking.add_done_callback(lambda _: self._checking.pop(name, None))
        version = await asyncio.shield(checking)
        if name is None:
            self._default = version
        return version

    def known(self) -> list[ModelVersion]:
        """See `Towers.known`."""
        others = [version for version, _ in self._clients.values() if version != self._default]
        return others if self._default is None else [self._default, *others]

    async def close(self) -> None:
        """Closes the connections."""
        checking = list(self._checking.values())
        for task in checking:
            task.cancel()
        await asyncio.gather(*checking, return_exceptions=True)
        await self._transport.close()

    async def _probe(self, name: str | None) -> ModelVersion:
        """Both towers' golden items, and what there is to know of a version that is new."""
        client = AsyncClient(self._url, version=name, timeout=self._timeout, **self._shared)
        space = await client.health()
        found = client.version or ""
        known = self._clients.get(found)
        if known is not None and known[0].space == space:
            return known[0]
        one = await client.embed_texts(["a"])
        version = ModelVersion(found, space, one.dim, one.logit_scale, client.languages)
        self._clients.pop(found, None)
        self._clients[found] = version, self._pinned(version)
        for old in list(self._clients)[:-_KEPT]:
            del self._clients[old]
        return version

    def _forget(self, version: ModelVersion) -> None:
        """What was known of a version is so no more; the next request for it asks the engine."""
        if self._default == version:
            self._default = None
        if version.version in self._clients and self._clients[version.version][0] == version:
            del self._clients[version.version]

    def _client(self, version: ModelVersion, timeout: float | None) -> AsyncClient:
        kept = self._clients.get(version.version)
        client = kept[1] if kept is not None and kept[0] == version else self._pinned(version)
        if timeout is not None and timeout < self._timeout:
            return client.with_options(timeout=timeout)
        return client

    def _pinned(self, version: ModelVersion) -> AsyncClient:
        # Never closed: the connections are the transport's, and those are shared.
        return AsyncClient(
            self._url,
            version=version.version or None,
            space=version.space,
            timeout=self._timeout,
            **self._shared,
        )

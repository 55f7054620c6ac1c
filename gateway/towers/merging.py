"""Small requests that come together go to the engine as one message; each gets its own part of the answer.

A message costs the engine, and the gateway, as much for one item as for thirty. Who comes while nothing is
under way is sent at once; who comes while the engine is busy waits a moment for company, which is less than
the engine would have let it wait.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from babelclip import Embeddings
from babelclip.errors import DeadlineExceeded, RequestRefused
from babelclip.wire import Tower
from gateway.towers.base import ModelVersion, Towers

# Items of a message that others may join; more are sent on as they are.
MAX_ITEMS = 32
# Bytes of such a message; texts never come near it.
MAX_BYTES = 4 * 1024 * 1024
WAIT_SECONDS = 0.002


@dataclass(eq=False)
class _Message:
    """Items of several requests, and where each request's begin."""

    tower: Tower
    version: ModelVersion
    language: str
    items: list[Any] = field(default_factory=list)
    parts: list[tuple[int, int, asyncio.Future[Embeddings]]] = field(default_factory=list)
    bytes: int = 0
    timeout: float | None = 0.0
    timer: asyncio.TimerHandle | None = None


class MergingTowers:
    """See `gateway.towers.base.Towers`: those of `towers`, asked by fewer and larger messages."""

    def __init__(self, towers: Towers) -> None:
        self._towers = towers
        self._open: dict[tuple[Tower, ModelVersion, str], _Message] = {}
        self._under_way: dict[tuple[Tower, ModelVersion, str], int] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self.version = towers.version
        self.check = towers.check
        self.known = towers.known

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
        size = sum(map(len, items))
        if len(items) >= MAX_ITEMS or size >= MAX_BYTES:
            return await self._towers.embed(tower, items, version, language=language, timeout=timeout)
        answer: asyncio.Future[Embeddings] = asyncio.get_running_loop().create_future()
        self._join(tower, version, language, items, size, timeout, answer)
        if timeout is None:
            return await answer
        try:
            async with asyncio.timeout(timeout):
                return await answer
        except TimeoutError:
            raise DeadlineExceeded(f"no answer within {timeout:g} s") from None

    async def close(self) -> None:
        """Gives up what is under way, and closes the towers."""
        for message in self._open.values():
            _cancel(message)
        self._open.clear()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._towers.close()

    def _join(
        self,
        tower: Tower,
        version: ModelVersion,
        language: str,
        items: Sequence[Any],
        size: int,
        timeout: float | None,
        answer: asyncio.Future[Embeddings],
    ) -> None:
        """Put a request into the message that is open for its like; send what is full."""
        key = tower, version, language
        message = self._open.get(key)
        if message is not None and (
            len(message.items) + len(items) > MAX_ITEMS or message.bytes + size > MAX_BYTES
        ):
            self._send(message)
            message = None
        if message is None:
            message = self._open[key] = _Message(tower, version, language)
        start = len(message.items)
        message.items.extend(items)
        message.parts.append((start, start + len(items), answer))
        message.bytes += size
        if timeout is None or message.timeout is None:
            message.timeout = None
        else:
            message.timeout = max(message.timeout, timeout)
        if not self._under_way.get(key):
            self._send(message)
        elif message.timer is None:
            message.timer = asyncio.get_running_loop().call_later(WAIT_SECONDS, self._send, message)

    def _send(self, message: _Message) -> None:
        key = message.tower, message.version, message.language
        if message.timer is not None:
            message.timer.cancel()
        if self._open.get(key) is message:
            del self._open[key]
        self._under_way[key] = self._under_way.get(key, 0) + 1
        task = asyncio.create_task(self._answer(message))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        # Nobody waits any more: then the engine need not go on either.
        waiting = len(message.parts)

        def left(answer: asyncio.Future[Embeddings]) -> None:
            nonlocal waiting
            waiting -= answer.cancelled()
            if waiting == 0:
                task.cancel()

        for _, _, answer in message.parts:
            answer.add_done_callback(left)

    async def _answer(self, message: _Message) -> None:
        key = message.tower, message.version, message.language
        try:
            outcomes = await self._towers.embed(
                message.tower,
                message.items,
                message.version,
                language=message.language,
                timeout=message.timeout,
            )
        except asyncio.CancelledError:
            _cancel(message)
            raise
        except RequestRefused as error:
            if len(message.parts) == 1:
                _fail(message, error)
            else:  # What was refused is one request's, and must not cost the others theirs.
                await asyncio.gather(*(self._alone(message, *part) for part in message.parts))
        except Exception as error:
            _fail(message, error)
        else:
            for start, end, answer in message.parts:
                if not answer.done():
                    answer.set_result(outcomes if len(message.parts) == 1 else outcomes[start:end])
        finally:
            self._under_way[key] -= 1
            if not self._under_way[key]:
                del self._under_way[key]

    async def _alone(
        self, message: _Message, start: int, end: int, answer: asyncio.Future[Embeddings]
    ) -> None:
        """The answer to one request of a message, asked for by itself."""
        if answer.done():
            return
        try:
            outcomes = await self._towers.embed(
                message.tower,
                message.items[start:end],
                message.version,
                language=message.language,
                timeout=message.timeout,
            )
        except asyncio.CancelledError:
            answer.cancel()
            raise
        except Exception as error:
            if not answer.done():
                answer.set_exception(error)
        else:
            if not answer.done():
                answer.set_result(outcomes)


def _fail(message: _Message, error: Exception) -> None:
    for _, _, answer in message.parts:
        if not answer.done():
            answer.set_exception(error)


def _cancel(message: _Message) -> None:
    if message.timer is not None:
        message.timer.cancel()
    for _, _, answer in message.parts:
        answer.cancel()

"""What one key has had and has under way, and what it is refused when that is too much."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Callable
from contextvars import ContextVar

from babelclip.keys.entries import NO_LIMITS, Scope, is_among
from gateway.access.bucket import TokenBucket
from gateway.errors import INSUFFICIENT_SCOPE, RATE_LIMIT_EXCEEDED, ApiError
from gateway.keys import Caller

Refused = Callable[[str, str], None]
"""Told of a refusal: the name of the key, and what it had too much of."""


class Account:
    """One key's, within one process.

    Args:
        refused: told of each refusal.

    Attributes:
        limited: whether there is anything to count.
    """

    def __init__(self, caller: Caller, refused: Refused) -> None:
        limits = caller.limits
        self.caller = caller
        self._refused = refused
        self._requests = _bucket(limits.requests_per_second)
        self._items = _bucket(limits.items_per_second)
        self._bytes = _bucket(limits.bytes_per_second)
        self._under_way = 0
        self._released = asyncio.Event()
        self.limited = limits != NO_LIMITS

    @property
    def name(self) -> str:
        """The key's."""
        return self.caller.name

    def require(self, scope: Scope | None) -> None:
        """Raises ApiError where a call needs a scope that the key does not have; None is any key's."""
        if scope is not None and scope not in self.caller.scopes:
            message = f"the key has {_listed(self.caller.scopes)}, and this call needs the scope {scope}"
            raise ApiError(403, INSUFFICIENT_SCOPE, message)

    def enter(self) -> None:
        """Counts a request.

        Raises:
            ApiError: there were too many, or too many bytes.
        """
        if wait := self._wait(self._requests, 1):
            raise self._too_much("requests", wait)
        if wait := self._wait(self._bytes, 1):
            raise self._too_much("bytes", wait)
        if self._requests is not None:
            self._requests.take(1)

    def received(self, size: int) -> None:
        """Counts bytes of a body. They are there already: it is the next request that is refused for them."""
        if self._bytes is not None:
            self._bytes.take(size)

    def may_use(self, collection: str) -> bool:
        """Whether the collection of this name is one of the key's."""
        return is_among(collection, self.caller.collections)

    async def keep_pace(self) -> None:
        """Counts a further request of a stream, which waits instead of being refused."""
        while wait := max(self._wait(self._requests, 1), self._wait(self._bytes, 1)):
            await asyncio.sleep(wait)
        if self._requests is not None:
            self._requests.take(1)

    async def begin(self, items: int) -> None:
        """Counts items, which are under way from now until `end`; those of a stream wait for their turn.

        Raises:
            ApiError: there were too many, or too many are under way.
        """
        patient = STREAMING.get()
        while (too_many := self._too_many(items)) or (wait := self._wait(self._items, items)):
            if not patient:
                raise self._too_much("concurrent_items", 1) if too_many else self._too_much("items", wait)
            await (self._released.wait() if too_many else asyncio.sleep(wait))
        if self._items is not None:
            self._items.take(items)
        self._under_way += items

    def end(self, items: int) -> None:
        """Items are under way no more."""
        self._under_way -= items
        self._released.set()
        self._released = asyncio.Event()

    def _too_many(self, items: int) -> bool:
        # Alone, a request may have more than the limit: it could never be made otherwise.
        most = self.caller.limits.concurrent_items
        return most is not None and self._under_way > 0 and self._under_way + items > most

    def _wait(self, bucket: TokenBucket | None, count: int) -> float:
        return 0.0 if bucket is None else bucket.wait(count)

    def _too_much(self, what: str, wait: float) -> ApiError:
        self._refused(self.name, what)
        seconds = max(1, math.ceil(wait))
        limits = self.caller.limits.named()
        if what == "concurrent_items":
            allowed = f"{limits[what]:,g} items at a time"
        else:
            allowed = f"{limits[f'{what}_per_second']:,g} {what} a second"
        message = f"the key may have {allowed}, and has them; try again in {seconds} s"
        return ApiError(429, RATE_LIMIT_EXCEEDED, message, retry_after=seconds)


ACCOUNT: ContextVar[Account | None] = ContextVar("account", default=None)
"""Of the key with which the present call was made; None where no key is asked for."""

STREAMING: ContextVar[bool] = ContextVar("streaming", default=False)
"""Whether the present call is a stream, which is slowed to its limits instead of being refused."""


def may_use(collection: str) -> bool:
    """Whether the key of the present call may use the collection of this name."""
    account = ACCOUNT.get()
    return account is None or account.may_use(collection)


def _bucket(rate: float | None) -> TokenBucket | None:
    return None if rate is None else TokenBucket(rate)


def _listed(scopes: tuple[Scope, ...]) -> str:
    return f"the scope{'s' if len(scopes) > 1 else ''} {' and '.join(scopes)}"

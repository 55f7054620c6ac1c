"""Room for bodies: what all requests hold of them at a time is bounded, and no key takes all of it.

One body has a bound of its own; a thousand callers, or one that sends a thousand at once, would fill the
memory all the same.
"""

from __future__ import annotations

from collections import Counter
from contextvars import ContextVar

from starlette.types import ASGIApp, Message, Receive, Scope, Send

from babelclip.errors import OVERLOADED
from gateway.access.account import ACCOUNT
from gateway.errors import ApiError

_SHARE = 2
"""A key may hold one part in so many."""


class BodyRoom:
    """ASGI middleware, inside of the guard: bytes of bodies count from their coming to their answer.

    Args:
        most_bytes: of all requests of this process together.
    """

    def __init__(self, app: ASGIApp, most_bytes: int) -> None:
        self._app = app
        self._most = most_bytes
        self._held: Counter[str] = Counter()
        self._total = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes a request on; what comes when there is no room ends it with 503 or 429."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        account = ACCOUNT.get()
        place = Place(self, "" if account is None else account.name)
        PLACE.set(place)

        async def counted() -> Message:
            message = await receive()
            place.take(len(message.get("body", b"")))
            return message

        try:
            await self._app(scope, counted, send)
        finally:
            place.release()

    def take(self, key: str, size: int) -> None:
        """Counts bytes that a key's request holds.

        Raises:
            ApiError: there is no room for them.
        """
        if not size:
            return
        self._held[key] += size
        self._total += size
        if key and self._held[key] > self._most // _SHARE:
            message = "the key has too many large requests under way; send fewer at a time"
            raise ApiError(429, OVERLOADED, message, retry_after=1)
        if self._total > self._most:
            message = "the gateway has no room for more bodies at the moment; try again"
            raise ApiError(503, OVERLOADED, message, retry_after=1)

    def give_back(self, key: str, size: int) -> None:
        """They are held no more."""
        self._held[key] -= size
        self._total -= size
        if not self._held[key]:
            del self._held[key]


class Place:
    """What one request holds."""

    def __init__(self, room: BodyRoom, key: str) -> None:
        self._room = room
        self._key = key
        self._size = 0

    def take(self, size: int) -> None:
        """Counts bytes more, such as those that came out of packed ones.

        Raises:
            ApiError: there is no room for them.
        """
        self._size += size
        self._room.take(self._key, size)

    def release(self) -> None:
        """Nothing is held any more: all is answered, or was passed on."""
        self._room.give_back(self._key, self._size)
        self._size = 0


PLACE: ContextVar[Place | None] = ContextVar("place", default=None)
"""Of the present request."""

"""Who may call what over HTTP: a bearer token that is one of the keys, before anything else is read."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from starlette.datastructures import Headers
from starlette.routing import Route
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from babelclip.keys import entries
from gateway.access.account import ACCOUNT
from gateway.access.control import AccessControl, KeyMissing
from gateway.errors import ApiError
from gateway.http.answers import refusal
from gateway.http.observe import observed_of

# Every address that is not named here needs a key, so that a new one cannot be forgotten.
OPEN = frozenset(
    {"/healthz", "/livez", "/readyz", "/openapi.json", "/docs", "/v2/health/live", "/v2/health/ready"}
)
# The page's files, which hold no data, and what leads to them.
_PAGE = re.compile(r"/(ui(/.*)?)?")

# Which scope a route needs: the first line that its path fits; None is any key's.
SCOPES: Sequence[tuple[re.Pattern[str], entries.Scope | None]] = (
    (re.compile(r"/v1/embeddings|/v[12]/embed|/predictions/.*|/v[12]/models/.*(:predict|/infer)"), "embed"),
    (re.compile(r"/v[12]/rerank|/v1/similarity|/v1/classify"), "search"),
    (re.compile(r"/v1/collections(/.*)?|/v1/jobs(/.*)?"), "search"),
    (re.compile(r"/v1/admin/.*"), "admin"),
    (re.compile(r"/v1/models(/.*)?|/v2(/health/.*|/models/.*)?"), None),
)
# Of those, the ones that change what is kept, unless they only get something.
WRITES = re.compile(r"/v1/collections(/\{collection\}(/items(/.*)?|/jobs)?)?|/v1/jobs/.*")
# What is not there is the operator's alone: a new route that was forgotten is open to nobody else.
OTHERWISE: entries.Scope = "admin"


def is_open(path: str) -> bool:
    """Whether an address needs no key."""
    return path in OPEN or _PAGE.fullmatch(path) is not None


def scope_of(path: str, methods: Collection[str] = ()) -> entries.Scope | None:
    """The scope that a key must have for a route of this path and these methods; None for none."""
    if WRITES.fullmatch(path) and not set(methods) <= {"GET", "HEAD"}:
        return "write"
    return next((scope for pattern, scope in SCOPES if pattern.fullmatch(path)), OTHERWISE)


def require_scopes(routes: Sequence[Route]) -> None:
    """From now on each route that is not open answers 403 to a key without its scope."""
    for route in routes:
        if not is_open(route.path) and (needed := scope_of(route.path, route.methods or ())) is not None:
            route.app = _scoped(route.app, needed)


def _scoped(app: ASGIApp, needed: entries.Scope) -> ASGIApp:
    async def checked(scope: Scope, receive: Receive, send: Send) -> None:
        account = ACCOUNT.get()
        if account is not None:
            account.require(needed)
        await app(scope, receive, send)

    return checked


class Guard:
    """ASGI middleware: health, the description of the calls and the page are open, all else needs a key."""

    def __init__(self, app: ASGIApp, access: AccessControl) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Lets a request through, or answers 401 or 429."""
        if scope["type"] != "http" or is_open(scope["path"]):
            await self._app(scope, receive, send)
            return
        try:
            shown = Headers(scope=scope).get("authorization", "")
            account = self._access.account(shown, "Authorization: Bearer KEY")
            observed_of(scope).key = account.name
            account.enter()
        except ApiError as error:
            await refusal(error, _challenge(error), path=scope["path"])(scope, receive, send)
            return
        ACCOUNT.set(account)

        async def counted() -> Message:
            message = await receive()
            account.received(len(message.get("body", b"")))
            return message

        await self._app(scope, counted if account.limited else receive, send)


def _challenge(error: ApiError) -> dict[str, str]:
    if error.status != 401:
        return {}
    detail = "" if isinstance(error, KeyMissing) else ', error="invalid_token"'
    return {"WWW-Authenticate": f'Bearer realm="babelclip"{detail}'}
